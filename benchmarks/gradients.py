"""What is a gradient worth? Policy gradients of each estimator at fixed policies, beside a reference of many env steps.

    python benchmarks/gradients.py                       # an hour or two of one core; docs/gradients/
    python benchmarks/gradients.py --tiny --docs folder  # all of it in a minute; means nothing

PPO trains a policy for each task; it is kept when the mean return of 64 fresh episodes, played as in training, first
passes a tenth, a half and nine tenths of the way from an untrained policy's to a good one's. At each of these policies
the project's own algorithms collect and compute the gradient of their first step, some hundred times, with numbers of
their own. The reference is the gradient of the undiscounted return, of as many env steps as asked for: REINFORCE with
reward-to-go and the mean of the other episodes as its baseline, which has no bias.

Figures do not depend on how an estimator is scaled, as a learning rate makes up for that. With g one gradient of n env
steps, E g its mean, r the reference:

    angle   between E g and r, degrees: the bias
    noise   n E|g - E g|^2 / |E g|^2: the env steps after which noise is as large as the gradient: the variance
    cosine  of r and a gradient of 10,000 env steps, |cos angle| / sqrt(1 + noise / 10,000): what such a step is worth

|E g|^2 and (E g) r are taken without the noise's own part: products of different gradients only.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from gradients_figures import write_figures
from jaxtyping import Float
from timing import circumstances
from torch import Tensor

from cartpole_cli.algorithms.build import build_algorithm
from cartpole_cli.environments.build import build_environment
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import collect_episodes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.training.build import build_trainer

DOCS = Path(__file__).parent.parent / "docs" / "gradients"
CPU = torch.device("cpu")
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
MOMENTS = {"early": 0.1, "middle": 0.5, "nearly solved": 0.9}
STEPS, SEEDS = 32, 16
EPISODES, LOOK_EVERY = 64, 2
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
        found[f"GAE({decay:g}), gamma 0.99"] = ("ppo", (f"algorithm.gae_lambda={decay}", *PPO))
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


@dataclass(frozen=True, slots=True)
class Gradients:
    """M gradients of one estimator at one policy, and the env steps of one, on average."""

    each: Float[Tensor, "M P"]
    env_steps: float


@dataclass(frozen=True, slots=True)
class Worth:
    """The figures of the module's docstring, with standard errors from leaving out one twentieth at a time."""

    angle: float | None
    angle_error: float | None
    noise: float | None
    noise_error: float | None
    cosine: float | None
    gradients: int
    env_steps: float


def policies(task: str, seed: int, moments: dict[str, float]) -> dict[str, PolicyNetwork]:
    """The policies of the moments, S = 1, each with the value network of that moment, by a training of PPO."""
    name, changes, low, high = TASKS[task]
    trainer_recipe = _recipe(name, (*changes, f"trainer.seed={seed}"))
    trainer = build_trainer([trainer_recipe], CPU)
    kept: dict[str, PolicyNetwork] = {}
    streams = Streams([seed], CPU, name="moments")
    environment = _environment(trainer_recipe, streams)
    for report in trainer.iterations():
        if report.iteration % LOOK_EVERY:
            continue
        rollout = collect_episodes(environment, trainer.policy, streams, report.iteration)
        reached = (float(rollout.reward[rollout.valid].sum()) / EPISODES - low) / (high - low)
        for moment, share in moments.items():
            if moment not in kept and reached >= share:
                kept[moment] = trainer.policy.select([0])
        if len(kept) == len(moments):
            break
    return kept


def gradients(policy: PolicyNetwork, recipe: Recipe, seed: int, count: int, env_steps: int) -> Gradients:
    """At least so many gradients of at least so many env steps in all."""
    policy = PolicyNetwork.stack([policy] * SEEDS)
    streams = Streams(range(seed, seed + SEEDS), CPU)
    environment = _environment(recipe, streams)
    algorithm = build_algorithm([recipe.algorithm] * SEEDS, CPU)
    trained = [parameter for name, parameter in policy.named_parameters() if not name.startswith("value_network.")]
    found: list[Tensor] = []
    spent, iteration = 0, 0
    # Environments that go on from one collection to the next are not all at their episodes' beginnings any more.
    settling = -(-environment.max_episode_steps // STEPS) if recipe.algorithm.name == "ppo" else 0
    progress = torch.zeros(SEEDS)
    while len(found) * SEEDS < count or spent < env_steps:
        rollout = algorithm.collect(environment, policy, streams, iteration)
        iteration += 1
        if iteration <= settling:
            continue
        spent += int(rollout.num_steps.sum())
        targets = algorithm.targets(rollout, policy, policy)
        policy.zero_grad()
        for part in next(iter(algorithm.epochs(targets, streams, iteration, progress)))[0]:
            algorithm.loss(policy, part).total.sum().backward()
        found.append(torch.cat([_of_each(parameter) for parameter in trained], dim=1))
    each = torch.cat(found).double()
    return Gradients(each, spent / len(each))


def worth(given: Gradients, reference: Gradients, at: float) -> Worth:
    """How good gradients are; None where their mean is not above their noise."""
    parts = 20
    whole = _figures(given, reference)
    left_out = []
    for part in range(parts):
        kept = torch.arange(len(given.each)) % parts != part
        left_out.append(_figures(Gradients(given.each[kept], given.env_steps), reference))
    angle, noise = whole
    errors: list[float | None] = []
    for place in range(2):
        values = [figures[place] for figures in left_out]
        known = torch.tensor([value for value in values if value is not None])
        spread = math.sqrt((parts - 1) / parts * float((known - known.mean()).square().sum()))
        errors.append(spread if len(known) == parts else None)
    cosine = None
    if angle is not None and noise is not None:
        cosine = math.cos(math.radians(angle)) / math.sqrt(1 + noise / at)
    return Worth(angle, errors[0], noise, errors[1], cosine, len(given.each), given.env_steps)


def _figures(given: Gradients, reference: Gradients) -> tuple[float | None, float | None]:
    """The angle in degrees, and the noise in env steps."""
    signal, truth = _squared_mean(given.each), _squared_mean(reference.each)
    if signal <= 0 or truth <= 0:
        return None, None
    product = float(given.each.mean(dim=0) @ reference.each.mean(dim=0))
    cosine = max(-1.0, min(1.0, product / math.sqrt(signal * truth)))
    power = float(given.each.square().sum(dim=1).mean())
    return math.degrees(math.acos(cosine)), max(0.0, (power - signal) / signal * given.env_steps)


def _squared_mean(each: Float[Tensor, "M P"]) -> float:
    """|E g|^2 without bias: the mean product of two different gradients."""
    count = len(each)
    return float(each.sum(dim=0).square().sum() - each.square().sum()) / (count * (count - 1))


def _of_each(parameter: Tensor) -> Float[Tensor, "S P"]:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return gradient.flatten(1).clone()


def _environment(recipe: Recipe, streams: Streams) -> TrainingEnvironment:
    """Of EPISODES at once: a training needs eight groups, here one is enough."""
    return build_environment(recipe.environment.model_copy(update={"num_envs": EPISODES}), streams)


def _recipe(name: str, changes: tuple[str, ...]) -> Recipe:
    return load_recipe(find_recipe(name), [*changes, "trainer.stop_at_return=null"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the figures go")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings; the gradients' come from it")
    parser.add_argument("--reference-steps", type=int, default=10_000_000)
    parser.add_argument("--env-steps", type=int, default=1_000_000, help="of each estimator, at least")
    parser.add_argument("--gradients", type=int, default=160, help="of each estimator, at least")
    parser.add_argument("--only", action="append", choices=ESTIMATORS, help="an estimator; may be given again")
    parser.add_argument("--tiny", action="store_true", help="all of it in a minute; means nothing")
    options = parser.parse_args()
    if options.tiny:
        options.reference_steps, options.env_steps, options.gradients = 1_000, 1_000, 2 * SEEDS
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[str, object]]] = {}
    moments = {"middle": -1.0} if options.tiny else MOMENTS
    for task, (_, changes, _, _) in TASKS.items():
        for moment, policy in policies(task, options.seed, moments).items():
            known = tuple(change for change in changes if change.startswith(("environment.", "policy.")))
            known += ("environment.max_episode_steps=20",) if options.tiny else ()
            place = f"{task}, {moment}"
            name, of_reference = REFERENCE
            steps = options.reference_steps
            reference = gradients(policy, _recipe(name, (*known, *of_reference)), 10**6, 2 * SEEDS, steps)
            results[place] = {}
            for estimator in options.only or ESTIMATORS:
                name, change = ESTIMATORS[estimator]
                seed = 2 * 10**6 + SEEDS * list(ESTIMATORS).index(estimator)
                recipe = _recipe(name, (*known, *change, "environment.num_envs=1024"))
                found = gradients(policy, recipe, seed, options.gradients, options.env_steps)
                results[place][estimator] = asdict(worth(found, reference, 10_000))
                print(f"{place}: {estimator}: {json.dumps(results[place][estimator])}", flush=True)
    write_figures(results, f"seed {options.seed}, {circumstances()}", options.docs)


if __name__ == "__main__":
    main()
