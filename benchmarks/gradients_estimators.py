"""What benchmarks/gradients.py compares: the tasks, and the estimators of a gradient."""

TASKS = {
    "CartPole-v1": ("ppo", ("policy.hidden_sizes=[64, 64]",), 0.0, 500.0),
    "CartPoleSwingUp-v1": (
        "ppo",
        (
            *("environment.id=CartPoleSwingUp-v1", "policy.features=trig", "policy.hidden_sizes=[64, 64]"),
            *("trainer.learning_rate=3e-3", "trainer.num_steps=3000000", "algorithm.gamma=0.99"),
        ),
        200.0,
        450.0,
    ),
}
"""Recipe, changes, and what an untrained and a good policy return."""
EPISODES, STEPS = 64, 32
"""Per gradient: whole episodes, or in as many environments PPO's steps."""
REFITTED = ", refitted"
"""Ends the name of an estimator whose value network was fitted to the policy first."""
REINFORCE = ("algorithm.normalize_advantage=false",)
GRPO = ("algorithm.advantage_scale=none", "algorithm.minibatch_size=null", "algorithm.num_epochs=1")
DPO = ("algorithm.num_epochs=1", "algorithm.beta=0.1")
PPO = (
    *("algorithm.normalize_advantage=false", f"algorithm.steps_per_iteration={STEPS}"),
    *(f"algorithm.minibatch_size={EPISODES * STEPS}", "algorithm.num_epochs=1", "algorithm.gamma=0.99"),
)
REFERENCE = ("reinforce", ("algorithm.baseline=leave_one_out", "algorithm.gamma=1", *REINFORCE))


def _estimators() -> dict[str, tuple[str, tuple[str, ...]]]:
    """By name: a recipe, and how it is changed."""
    found = {
        f"REINFORCE, {baseline.replace('_', ' ')}{words}": (
            "reinforce",
            (f"algorithm.baseline={baseline}", f"algorithm.gamma={gamma}", *REINFORCE),
        )
        for baseline, gamma, words in (
            ("none", 1, ""),
            ("batch", 1, ""),
            ("leave_one_out", 1, ""),
            ("leave_one_out", 0.99, ", gamma 0.99"),
            ("value", 0.99, ", gamma 0.99"),
        )
    }
    for decay in (0, 0.5, 0.8, 0.9, 0.95, 0.99, 1):
        gae = ("ppo", (f"algorithm.gae_lambda={decay}", *PPO))
        found[f"GAE({decay:g}), gamma 0.99"] = gae
        found[f"GAE({decay:g}), gamma 0.99{REFITTED}"] = gae
    for decay in (0.9, 1):
        changes = (f"algorithm.gae_lambda={decay}", *PPO, "algorithm.normalize_advantage=true")
        found[f"GAE({decay:g}), gamma 0.99, normalized"] = ("ppo", changes)
    for credit in ("outcome", "to_go"):
        for size in (2, 4, 8, 16, 32, 64):
            changes = (f"algorithm.credit={credit}", f"algorithm.group_size={size}")
            found[f"GRPO {credit.replace('_', '-')}, G = {size}"] = ("grpo", (*changes, *GRPO))
        for start, where in (("episode", "branched"), ("none", "unrelated")):
            changes = (f"algorithm.credit={credit}", "algorithm.group_size=16", f"algorithm.branch_from={start}")
            found[f"GRPO {credit.replace('_', '-')}, G = 16, {where}"] = ("grpo", (*changes, *GRPO))
    for change in ("aggregation=grpo", "aggregation=dr_grpo", "advantage_scale=group"):
        name = change.replace("=", " ").replace("_", " ")
        found[f"GRPO outcome, G = 16, {name}"] = (
            "grpo",
            ("algorithm.credit=outcome", "algorithm.group_size=16", *GRPO, f"algorithm.{change}"),
        )
    for window in ("same_length", "last_k", "full"):
        found[f"DPO, window {window}"] = ("dpo", (f"algorithm.window={window}", *DPO))
    found["DPO, before a failure"] = ("dpo", ("algorithm.branch_from=before_failure", *DPO))
    return found


ESTIMATORS = _estimators()
