"""`cartpole eval --suite`."""

import json
from pathlib import Path
from typing import Any

import typer

from cartpole_cli.cli.progress import ScoringProgress
from cartpole_cli.cli.tables import Column, print_left_out, print_lines, print_table
from cartpole_cli.cli.words import count
from cartpole_cli.errors import CartpoleError

BAR_WIDTH = 20
MOTION = (
    ("effort", "effort", 2, " N"),
    ("switches", "switches_per_second", 1, "/s"),
    ("jerk", "jerk", 1, " N/s"),
    ("distance", "distance", 2, " m"),
)
DISPENSABLE = (
    "jerk",
    "distance",
    "switches",
    "effort",
    "recovers in",
    "never down",
    "upright",
    "",
    "on rail",
    "95 % interval",
    "episodes",
)
LEGEND = (
    "stands: within 20 degrees of upright and 5 m of the middle all through the last 5 s; on rail: never beyond 5 m",
    "never down: the pole never past 90 degrees",
    "upright: share of the time; recovers in: longest time without a steady pole (upright for 1 s on end), where it "
    "stands",
    "after the first 5 s: effort: mean |force|; switches: changes of its sign; jerk: mean |change of force|; distance: "
    "mean |x|",
    "overall: mean of the conditions' shares that stand; intervals: 95 %",
)


def show_suite(
    targets: list[str],
    suite_name: str,
    runs_dir: Path,
    *,
    device: str,
    seed: int,
    episodes: int | None,
    heatmap: Path | None,
    as_json: bool,
) -> list[float]:
    """Put targets to a suite and print what became of them; the overall figure of each."""
    from cartpole_cli.plots.heatmap import check_can_draw, draw
    from cartpole_cli.scoring.page.suite_files import load_suite

    suite = load_suite(suite_name)
    if heatmap is not None:
        if len(targets) > 1:
            raise CartpoleError("--heatmap: draws one target; expected one TARGET")
        check_can_draw(heatmap, suite)
    with ScoringProgress("steps") as progress:
        import torch

        from cartpole_cli.scoring.candidates import load_candidate
        from cartpole_cli.scoring.suite_report import suite_report
        from cartpole_cli.training.build import choose_device

        torch.set_num_threads(1)  # more only get in each other's way with tensors this small
        where, reports = choose_device(device), []
        for target in targets:
            candidate, on_step = load_candidate(target, runs_dir, where), progress.follow(target)
            reports.append(suite_report(candidate, suite, seed=seed, episodes=episodes, on_step=on_step))
    if heatmap is not None:
        draw(reports[0], heatmap)
    if as_json:
        typer.echo(json.dumps({"targets": reports}))
    else:
        _print(reports, heatmap)
    return [report["overall"]["value"] for report in reports]


def _print(reports: list[dict[str, Any]], heatmap: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    utf = "utf" in console.encoding.lower()
    columns = _columns(reports[0], utf) if len(reports) == 1 else _side_by_side(reports)
    if not console.is_terminal:
        columns = [column for column in columns if column.heading != ""]  # bars are for eyes
    print_left_out(console, print_table(console, columns, DISPENSABLE))
    for report in reports:
        card = report["cart_pole"]
        if card is not None:
            low, high = card["ci95"]
            line = f"{report['target']}: Gymnasium's {card['environment']}: mean return {card['mean_return']:.1f} "
            print_lines(console, f"{line}({low:.1f} to {high:.1f}) in {count(card['episodes'], 'episode')}")
    print_lines(console, *LEGEND)
    if heatmap is not None:
        print_lines(console, f"drawn: {heatmap}")


def _columns(report: dict[str, Any], utf: bool) -> list[Column]:
    """The first row is the overall figure."""
    overall, rows = report["overall"], report["conditions"]
    recovery = [row["recovery_seconds"] for row in rows]
    return [
        Column("condition", False, ["overall", *(row["name"] for row in rows)]),
        Column("episodes", True, [str(sum(row["episodes"] for row in rows)), *(str(row["episodes"]) for row in rows)]),
        Column("", False, [_bar(figure["value"], utf) for figure in (overall, *(row["stands"] for row in rows))]),
        Column("stands", True, [_percent(overall), *(_percent(row["stands"]) for row in rows)]),
        Column("95 % interval", True, [_interval(overall), *(_interval(row["stands"]) for row in rows)]),
        Column("on rail", True, ["", *(_percent(row["on_rail"]) for row in rows)]),
        Column("never down", True, ["", *(_percent(row["never_down"]) for row in rows)]),
        Column("upright", True, ["", *(_percent(row["upright"]) for row in rows)]),
        *(
            Column(heading, True, ["", *(f"{row[key]['value']:.{places}f}{unit}" for row in rows)])
            for heading, key, places, unit in MOTION
        ),
        Column("recovers in", True, ["", *("-" if each is None else f"{each['value']:.1f} s" for each in recovery)]),
    ]


def _side_by_side(reports: list[dict[str, Any]]) -> list[Column]:
    """Which share stands, a column for each target."""

    def figures(report: dict[str, Any]) -> list[dict[str, Any]]:
        return [report["overall"], *(row["stands"] for row in report["conditions"])]

    names = ["overall", *(row["name"] for row in reports[0]["conditions"])]
    return [
        Column("stands", False, names),
        *(
            Column(report["target"], True, [f"{_percent(each)} ({_interval(each)})" for each in figures(report)])
            for report in reports
        ),
    ]


def _bar(share: float, utf: bool) -> str:
    full, rest = ("█", "░") if utf else ("#", ".")
    length = round(share * BAR_WIDTH)
    return full * length + rest * (BAR_WIDTH - length)


def _percent(figure: dict[str, Any]) -> str:
    return f"{figure['value'] * 100:.1f} %"


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{low * 100:.1f} to {high * 100:.1f}"
