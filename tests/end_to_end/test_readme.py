"""README and the documents behind it say what is so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cartpole_cli.recipe.files import shipped_recipes

ROOT = Path(__file__).parent.parent.parent
README, RECIPES, WEB_PAGE = (
    (ROOT / path).read_text(encoding="utf-8") for path in ("README.md", "docs/recipes.md", "docs/web-page.md")
)


def test_readme_is_a_page() -> None:
    assert len(README.splitlines()) <= 180


@pytest.mark.parametrize(
    ("name", "documents"), [("code.js", (README, WEB_PAGE)), ("policy.js", (WEB_PAGE,))], ids=["code", "policy"]
)
def test_the_javascript_is_that_which_the_browser_tests_run(name: str, documents: tuple[str, ...]) -> None:
    code = (ROOT / "tests" / "browser" / "page" / name).read_text(encoding="utf-8")
    assert all(f"```js\n{code}```" in document for document in documents)
    assert len(code.splitlines()) <= 15


def test_every_shipped_recipe_is_named() -> None:
    named = {name for name in shipped_recipes() if f"`{name}`" in RECIPES}
    unnamed = {name for name in shipped_recipes() if not name.startswith("ladder/")} - named
    assert not unnamed
    assert {"ladder/1-reinforce", "ladder/6-ppo"} <= named


@pytest.mark.parametrize(
    ("typed", "completed"), [("cartpole ex", "export"), ("cartpole eval --hor", "--horizon"), ("cartpole b", "best")]
)
def test_a_shell_completes_commands_and_options(typed: str, completed: str) -> None:
    words = typed.split()
    request = {"_CARTPOLE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    command = [str(Path(sys.executable).with_name("cartpole"))]
    done = subprocess.run(command, env=os.environ | request, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [completed]


@pytest.mark.parametrize(
    ("shell", "marker"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --command")]
)
def test_the_completion_script_of_a_shell_is_shown(shell: str, marker: str) -> None:
    command = [str(Path(sys.executable).with_name("cartpole")), "--show-completion", shell]
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert marker in subprocess.run(command, env=named, capture_output=True, text=True, check=True).stdout
