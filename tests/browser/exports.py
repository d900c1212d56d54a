"""The recipes whose exports are run in the browser."""

from cartpole_cli.recipe.files import shipped_recipes

RECIPES = [name for name in shipped_recipes() if not name.startswith("ladder/") and not name.endswith("-swing-up")]
ONLY_RUN = ("trainer.num_steps=1", "trainer.evaluation_episodes=2", "environment.max_episode_steps=64")
ONLY_RUN += ("trainer.stop_at_return=null",)
# What takes long is cut short: enough to balance, or only to be run.
CUT_SHORT = {
    "browser": (
        "trainer.num_steps=120_000",
        "trainer.evaluation_episodes=10",
        "environment.num_envs=128",
        "environment.max_episode_steps=500",
        "algorithm.minibatch_size=512",
    ),
    "reinforce-continuous": ONLY_RUN,
    "grpo-continuous": ONLY_RUN,
    "unbreakable": ONLY_RUN,
    "unbreakable-discrete": ONLY_RUN,
}
TRAINED = [name for name in RECIPES if CUT_SHORT.get(name) != ONLY_RUN]
"""Those that balance."""
