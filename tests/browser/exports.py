"""The recipes whose exports are run in the browser."""

from cartpole_cli.recipe.files import shipped_recipes

RECIPES = [name for name in shipped_recipes() if not name.startswith("ladder/")]
# What takes minutes is cut short: enough to balance, for `unbreakable` only to be run.
CUT_SHORT = {"browser": ("trainer.num_steps=1_000_000",), "unbreakable": ("trainer.num_steps=100_000",)}
