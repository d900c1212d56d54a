"""`cartpole recipes`: list, show and copy recipes; the schema of them all."""

from pathlib import Path
from typing import Annotated

import typer

recipes_app = typer.Typer(help="List, show and copy recipes.", rich_markup_mode=None)


@recipes_app.callback(invoke_without_command=True)
def list_recipes(context: typer.Context) -> None:
    """List the shipped recipes, or show and copy one."""
    if context.invoked_subcommand is None:
        from cartpole_cli.recipe_files import describe, shipped_recipes

        recipes = shipped_recipes()
        width = max(map(len, recipes))
        for name, path in recipes.items():
            print(f"{name:{width}}  {describe(path)}")


@recipes_app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for an editor that completes and checks TOML."""
    import json

    from cartpole_cli.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=2))


@recipes_app.command()
def show(name: Annotated[str, typer.Argument(help="A recipe's name or path.")]) -> None:
    """Print a recipe."""
    from cartpole_cli.recipe_files import find_recipe, read_recipe

    print(read_recipe(find_recipe(name)), end="")


@recipes_app.command()
def copy(
    name: Annotated[str, typer.Argument(help="A recipe's name or path.")],
    path: Annotated[Path, typer.Argument(help="A file, or a folder to put it in.")] = Path(),
) -> None:
    """Copy a recipe, to edit it."""
    from cartpole_cli.recipe_files import copy_recipe

    print(copy_recipe(name, path))
