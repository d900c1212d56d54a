"""How `cartpole train` begins and ends on the screen, whoever does the training."""

import json
from typing import TYPE_CHECKING

from cartpole_cli.cli.streams import tell

if TYPE_CHECKING:
    from rich.console import Console

    from cartpole_cli.cli.train_outcome import Task
    from cartpole_cli.recipe.recipe import Recipe
    from cartpole_cli.runs.summary import StudySummary, Summary


def report(console: "Console", summary: "Summary | StudySummary", recipe: "Recipe", *, as_json: bool) -> None:
    """The outcome, for people and for scripts; of a failure even a quiet command says a line."""
    if console.quiet and summary.status == "failed":
        from cartpole_cli.cli.train_outcome import describe_failure

        for line in describe_failure(summary).splitlines():
            tell(line)
    _show(console, summary, recipe.environment)
    if as_json:
        print(json.dumps(summary.as_plain_data()))


def _show(console: "Console", summary: "Summary | StudySummary", task: "Task") -> None:
    from cartpole_cli.cli.train_outcome import describe_run, describe_study, study_table
    from cartpole_cli.runs.summary import Summary

    if isinstance(summary, Summary):
        say(console, describe_run(summary, task))
    else:
        console.print(study_table(summary))
        say(console, describe_study(summary, task))


def seeds_in_words(seeds: range) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def device_hint(asked: str, chosen: str) -> str:
    if asked != "auto":
        return ""
    if chosen == "cpu":
        return " (each step is tiny: on a GPU, starting it would cost more than computing it; --device chooses)"
    return " (each step is tiny, and starting it costs more than computing it: --device cpu is usually faster)"


def say(console: "Console", text: str) -> None:
    wraps = console.is_terminal and "cartpole " not in text  # commands are for pasting
    console.print(text, markup=False, soft_wrap=not wraps)
