"""Scorecards for people and for scripts."""

import json
from typing import TYPE_CHECKING, Any

import typer

from cartpole_cli.cli.tables import Column, fitting, plain_table, rich_table

if TYPE_CHECKING:
    from rich.table import Table

MANY = 4
"""Targets that fit side by side."""
DISPENSABLE = ("switches per second", "effort, mean |F| (N)", "mean |x| (m)", "median", "best", "standard deviation")


def print_scores(cards: list[dict[str, Any]], as_json: bool) -> None:
    """One scorecard, or several side by side; the runs of a study below each other, with their middle."""
    from cartpole_cli.runs.scorecard import compare, summarize_studies

    comparisons, studies = compare(cards), summarize_studies(cards)
    if as_json:
        several = {"targets": cards, "comparisons": comparisons, "studies": studies}
        typer.echo(json.dumps(cards[0] if len(cards) == 1 else several))
    else:
        _show(cards, comparisons, studies)


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


def _show(cards: list[dict[str, Any]], comparisons: list[dict[str, Any]], studies: list[dict[str, Any]]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if len(cards) <= MANY:
        console.print(_side_by_side(cards, console.is_terminal))
    else:
        columns = _one_below_the_other(cards)
        if console.is_terminal:
            console.print(rich_table(fitting(columns, console.width, DISPENSABLE)))
        else:
            console.print("\n".join(plain_table(columns)), markup=False, soft_wrap=True)
    for line in [*map(_study_line, studies), *map(_comparison_line, comparisons)]:
        console.print(line, soft_wrap=True, markup=False)


def _one_below_the_other(cards: list[dict[str, Any]]) -> list[Column]:
    columns = [Column("target", False, [card["target"] for card in cards])]
    for label, (key, form) in ROWS.items():
        if any(key in card for card in cards):
            columns.append(Column(label, True, [form.format(card[key]) if key in card else "-" for card in cards]))
    return columns


def _side_by_side(cards: list[dict[str, Any]], boxed: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE if boxed else None, pad_edge=False)
    table.add_column("")
    for card in cards:
        table.add_column(Text(card["target"]), justify="right", overflow="fold")
    table.add_row("environment", *(card["environment"] for card in cards))
    table.add_row("episodes", *(str(card["episodes"]) for card in cards))
    for label, (key, form) in ROWS.items():
        if any(key in card for card in cards):
            table.add_row(label, *(form.format(card[key]) if key in card else "-" for card in cards))
        if key == "mean_return":
            table.add_row("95 % interval", *("{:.1f} to {:.1f}".format(*card["ci95"]) for card in cards))
    if any(card["solved"] is not None for card in cards):
        solved = ("-" if card["solved"] is None else f"{card['solved']} of {card['episodes']}" for card in cards)
        table.add_row("solved", *solved)
    return table


def _study_line(study: dict[str, Any]) -> str:
    (low, high), middle = study["mean_return"]["ci95"], study["mean_return"]["iqm"]
    return (
        f"{study['study']}: mean return over {study['num_seeds']} seeds, IQM {middle:.1f} "
        f"(95 % interval {low:.1f} to {high:.1f}), worst seed {study['worst_seed']}"
    )


def _comparison_line(pair: dict[str, Any]) -> str:
    low, high = pair["ci95"]
    verdict = "" if low > 0.5 or high < 0.5 else ": not distinguishable"
    return (
        f"{pair['first']} beats {pair['second']} with probability {pair['probability']:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}){verdict}"
    )
