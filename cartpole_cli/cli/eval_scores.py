"""Scorecards, for people and for scripts."""

import json
from typing import TYPE_CHECKING, Any

import typer

from cartpole_cli.cli.tables import Column, print_left_out, print_lines, print_table, total_width
from cartpole_cli.cli.words import count

if TYPE_CHECKING:
    from cartpole_cli.scoring.scorecard import Scored

MANY = 4
"""Targets that may stand side by side, if the terminal has room."""
NEAR_LIMIT = "at 95 % of the time limit"
DISPENSABLE = ("switches per second", "effort, mean |F| (N)", "mean |x| (m)", "median", "best", "standard deviation")


def print_scores(scored: "list[Scored]", as_json: bool) -> None:
    """A few scorecards side by side; many, the runs of a study say, one below the other."""
    from cartpole_cli.scoring.scorecard import compare, summarize_studies

    cards = [each.card for each in scored]
    comparisons, studies = compare(scored), summarize_studies(cards)
    num_alone = sum(card["study"] is None for card in cards)
    if as_json:
        typer.echo(json.dumps({"targets": cards, "comparisons": comparisons, "studies": studies}))
    else:
        _show(cards, comparisons, studies, all_compared=len(comparisons) == num_alone * (num_alone - 1) // 2)


ROWS = {
    "mean return": ("mean_return", "{:.1f}"),
    "standard deviation": ("std_return", "{:.1f}"),
    "worst": ("min_return", "{:.1f}"),
    "median": ("median_return", "{:.1f}"),
    "best": ("max_return", "{:.1f}"),
    "mean |x| (m)": ("mean_abs_position", "{:.3f}"),
    "effort, mean |F| (N)": ("effort", "{:.2f}"),
    "switches per second": ("switches_per_second", "{:.1f}"),
}


def _show(
    cards: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    studies: list[dict[str, Any]],
    *,
    all_compared: bool,
) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    columns = _side_by_side(cards)
    if len(cards) > MANY or (console.is_terminal and total_width(columns) > console.width):
        columns = _one_below_the_other(cards)
    print_left_out(console, print_table(console, columns, DISPENSABLE, bold=-1))
    print_lines(console, *map(_study_line, studies), *map(_comparison_line, comparisons))
    if not all_compared:
        print_lines(console, "targets scored on different tasks, in other physics or limits, are not compared")


def _one_below_the_other(cards: list[dict[str, Any]]) -> list[Column]:
    columns = [Column("target", False, [card["target"] for card in cards])]
    for label, (key, _) in ROWS.items():
        if any(key in card for card in cards):
            columns.append(Column(label, True, [_cell(card, label) for card in cards]))
    return columns


def _side_by_side(cards: list[dict[str, Any]]) -> list[Column]:
    """A column for each target, a row for each figure that any of them has."""
    rows = ["environment", "episodes"]
    for label, (key, _) in ROWS.items():
        rows += [label] if any(key in card for card in cards) else []
        rows += ["95 % interval"] if key == "mean_return" else []
    rows += [NEAR_LIMIT] if any(card["at_95_percent"] is not None for card in cards) else []
    return [
        Column("", False, rows),
        *(Column(card["target"], True, [_cell(card, label) for label in rows]) for card in cards),
    ]


def _cell(card: dict[str, Any], label: str) -> str:
    if label in {"environment", "episodes"}:
        return str(card[label])
    if label == "95 % interval":
        return "{:.1f} to {:.1f}".format(*card["ci95"])
    if label == NEAR_LIMIT:
        return "-" if card["at_95_percent"] is None else f"{card['at_95_percent']} of {card['episodes']}"
    key, form = ROWS[label]
    return form.format(card[key]) if key in card else "-"


def _study_line(study: dict[str, Any]) -> str:
    (low, high), middle = study["mean_return"]["ci95"], study["mean_return"]["iqm"]
    return (
        f"{study['study']}: mean return over {count(study['num_seeds'], 'seed')}, IQM {middle:.1f} "
        f"(95 % interval {low:.1f} to {high:.1f}), worst seed {study['worst_seed']:.1f}"
    )


def _comparison_line(pair: dict[str, Any]) -> str:
    low, high = pair["ci95"]
    verdict = "" if low > 0.5 or high < 0.5 else ": not distinguishable"
    return (
        f"{pair['first']} beats {pair['second']} with probability {pair['probability']:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}){verdict}"
    )
