"""`cartpole recipes`: list, show and copy recipes; explain their fields; the schema of them all."""

import shutil
import sys
import textwrap
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cartpole_cli.cli.completion import complete_field, complete_recipe
from cartpole_cli.errors import printable

if TYPE_CHECKING:
    from cartpole_cli.recipe.fields import Entry

MIN_WIDTH, MAX_WIDTH = 20, 100
INDENT = "    "

recipes_app = typer.Typer(help="List, show, copy and explain recipes.", rich_markup_mode=None)


@recipes_app.callback(invoke_without_command=True)
def list_recipes(context: typer.Context) -> None:
    """List the shipped recipes; show, copy or explain one."""
    if context.invoked_subcommand is None:
        from cartpole_cli.recipe.files import describe, shipped_recipes

        recipes = shipped_recipes()
        width = max(map(len, recipes))
        for name, path in recipes.items():
            print(_beside(f"{name:{width}}  ", describe(path)))


class Kind(StrEnum):
    """What a file describes."""

    RECIPE = "recipe"
    SEARCH = "search"


@recipes_app.command()
def schema(
    kind: Annotated[Kind, typer.Argument(help="A recipe, or a search as `cartpole sweep` takes it.")] = Kind.RECIPE,
) -> None:
    """Print the JSON Schema of a recipe, for an editor that completes and checks TOML."""
    import json

    from cartpole_cli.recipe.recipe import Recipe
    from cartpole_cli.sweep.search import SearchFile

    print(json.dumps((Recipe if kind == Kind.RECIPE else SearchFile).model_json_schema(), indent=2))


@recipes_app.command()
def show(name: Annotated[str, typer.Argument(help="A recipe's name or path.", autocompletion=complete_recipe)]) -> None:
    """Print a recipe."""
    from cartpole_cli.recipe.files import find_recipe, read_recipe

    print(read_recipe(find_recipe(name)), end="")


@recipes_app.command()
def copy(
    name: Annotated[str, typer.Argument(help="A recipe's name or path.", autocompletion=complete_recipe)],
    path: Annotated[Path, typer.Argument(help="A file, or a folder to put it in.")] = Path(),
) -> None:
    """Copy a recipe, to edit it, and put the schema beside it that editors complete and check it by."""
    from cartpole_cli.recipe.files import copy_recipe

    print(printable(str(copy_recipe(name, path))))


@recipes_app.command(name="explain")
def explain_fields(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION[.FIELD]]",
            help="A section, a field by its key or name alone, or an algorithm; default: the sections.",
            autocompletion=complete_field,
        ),
    ] = None,
) -> None:
    """Explain the fields of recipes: the default, the allowed values, and what the field does.

    A field is written as the command line takes it, SECTION.FIELD=VALUE. "unset": it has no value by default;
    SECTION.FIELD=null unsets it, ~SECTION.FIELD gives a field its default.
    """
    from cartpole_cli.recipe.fields import entries, entries_about, heading

    said = ""
    for entry in entries() if topic is None else entries_about(topic):
        if heading(entry) != said:
            print("\n" * bool(said and topic) + _wrapped(said := heading(entry)))
        if topic is not None:
            print(_explanation(entry))
    if topic is None:
        print("their fields: cartpole recipes explain SECTION")


def _explanation(entry: "Entry") -> str:
    if entry.field.is_required():
        default = " (required)"
    else:
        default = " (unset)" if entry.default is None else f"={entry.default}"
    return "\n".join([f"{entry.key}{default}", *(_wrapped(text, INDENT) for text in (entry.takes, entry.sentence))])


def _beside(name: str, text: str) -> str:
    """A text that a terminal wraps between words, beside a name; one line elsewhere."""
    if not sys.stdout.isatty():
        return name + text
    wrapped = textwrap.wrap(text, max(MIN_WIDTH, shutil.get_terminal_size().columns - len(name)))
    return textwrap.indent("\n".join(wrapped), " " * len(name)).replace(" " * len(name), name, 1)


def _wrapped(text: str, indent: str = "") -> str:
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    lines = textwrap.wrap(text, width - len(indent), break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), indent)
