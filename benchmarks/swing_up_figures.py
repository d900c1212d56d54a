"""The figures of benchmarks/swing_up.py: results.json, tables.md and the pictures."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from algorithms_figures import aggregate, compare, describe, how_many, interval, judged
from algorithms_scores import Scores, read_scores
from cells import cost_of

from cartpole_cli.plots.curves import X_LABELS, Y_LABELS, Curve, read_curve
from cartpole_cli.plots.pictures import draw

TARGETS = {"pushes": 430.0, "force": 430.0, "group size": 430.0, "sparse": 300.0, "physics": 430.0}
"""Returns of a policy that swings up within about 2 s and stands from then on; a pole that turns and turns has less."""
TITLES = {
    "pushes": "Pushes of +-10 N",
    "force": "Any force up to 10 N",
    "group size": "GRPO, groups x episodes",
    "sparse": "Pushes, sparse reward",
    "physics": "Pushes, randomized physics",
}
MAIN = ("pushes", "force")
ON_STEPS = (X_LABELS["steps"], Y_LABELS["held-out"])
ON_SECONDS = ("core-seconds per seed", Y_LABELS["held-out"])
PROFILES = ("tau: final return", "share of seeds above tau")
COMPARED: dict[str, Callable[[Scores], list[float]]] = {
    "mean_held_out": lambda scores: scores.mean_held_out,
    "final": lambda scores: scores.final,
}
PAGE = {
    "overall": ("stands", "", "stands, all conditions"),
    "hanging": ("stands", "hanging start", "stands, hanging start"),
    "upright": ("upright", "hanging start", "time upright, hanging start"),
    "grid": ("stands", "slider grid, calm", "stands, slider grid, calm"),
}
"""By key: a figure of a condition, "" for all of them, and what the table calls it."""
Row = dict[str, Any]


def write_figures(
    studies: dict[str, Path], groups: dict[str, str], pages: dict[str, list[Row]], circumstances: Row, docs: Path
) -> None:
    """All figures of finished studies, by cell; `groups` has the group of each, `pages` what some do on a page."""
    scores = {name: read_scores(path, [TARGETS[groups[name]]]) for name, path in studies.items()}
    cells = {
        name: {"group": groups[name], **describe(each), "cpu_seconds": cost_of(studies[name])}
        for name, each in scores.items()
    }
    for name, targets in pages.items():
        cells[name]["page"] = {key: aggregate(values) for key, values in on_the_page(targets).items()}
    pairs = [
        compare(first, second, scores, COMPARED)
        for first, second in combinations(scores, 2)
        if groups[first] == groups[second]
    ]
    content = {**circumstances, "cells": cells, "pairs": pairs}
    (docs / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (docs / "tables.md").write_text("\n".join([*table(cells), "", *page_table(cells), "", *pair_table(pairs), ""]))
    draw_pictures(studies, groups, cells, scores, docs)


def on_the_page(targets: list[Row]) -> dict[str, list[float]]:
    """The figures of PAGE, of each seed."""

    def share(target: Row, figure: str, condition: str) -> float:
        if not condition:
            return float(target["overall"]["value"])
        return next(float(each[figure]["value"]) for each in target["conditions"] if each["name"] == condition)

    return {key: [share(target, figure, name) for target in targets] for key, (figure, name, _) in PAGE.items()}


def table(cells: dict[str, Row]) -> list[str]:
    """Markdown: a row for each cell."""
    lines = [
        "| cell | final return | mean held-out return | last | worst seed | env steps to the target; seeds "
        "| core-seconds per seed |",
        f"|{'---|' * 7}",
    ]
    for name, cell in cells.items():
        (steps,) = cell["steps_to"].values()
        figures = [
            *(interval(cell[key]) for key in ("final", "mean_held_out", "last_held_out")),
            f"{cell['worst_seed']['final']:.0f}",
            how_many(steps, cell["seeds"], ",.0f"),
            f"{cell['cpu_seconds'] / cell['seeds']:.1f}",
        ]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return lines


def page_table(cells: dict[str, Row]) -> list[str]:
    """Markdown: a row for each cell that a web page's conditions judged."""
    judged_cells = {name: cell["page"] for name, cell in cells.items() if "page" in cell}
    titles = [title for _, _, title in PAGE.values()]
    lines = [f"| cell | {' | '.join(titles)} |", f"|{'---|' * (len(PAGE) + 1)}"]
    for name, page in judged_cells.items():
        shares = [f"{page[key]['iqm']:.1%} ({page[key]['ci95'][0]:.1%} - {page[key]['ci95'][1]:.1%})" for key in PAGE]
        lines.append(f"| {name} | {' | '.join(shares)} |")
    return lines


def pair_table(pairs: list[Row]) -> list[str]:
    """Markdown: a row for each pair of a group."""
    lines = ["| probability that | is better than | by mean held-out return | by final return |", f"|{'---|' * 4}"]
    for pair in pairs:
        lines.append(f"| {pair['first']} | {pair['second']} | {' | '.join(judged(pair[key]) for key in COMPARED)} |")
    return lines


def draw_pictures(
    studies: dict[str, Path], groups: dict[str, str], cells: dict[str, Row], scores: dict[str, Scores], docs: Path
) -> None:
    """Learning curves of all groups, and of the main ones on core-seconds and performance profiles, too."""
    on_steps: dict[str, list[Curve]] = {}
    on_seconds: dict[str, list[Curve]] = {}
    profiles: dict[str, list[Curve]] = {}
    thresholds = np.linspace(0, 500, 101)
    for name, study in studies.items():
        title = TITLES[groups[name]]
        curve = replace(read_curve(str(study), study.parent, x="steps", y="held-out"), name=name)
        seconds = cells[name]["cpu_seconds"] / cells[name]["seeds"]
        on_steps.setdefault(title, []).append(curve)
        on_seconds.setdefault(title, []).append(replace(curve, x=curve.x / curve.x[-1] * seconds))
        final = np.array(scores[name].final)
        profiles.setdefault(title, []).append(
            Curve(name, thresholds, np.array([np.mean(final > tau) for tau in thresholds]))
        )
    main = {TITLES[group] for group in MAIN}
    for file, panels, x_label, y_label in (
        ("swing_up", {title: on_steps[title] for title in on_steps if title in main}, *ON_STEPS),
        ("variants", {title: on_steps[title] for title in on_steps if title not in main}, *ON_STEPS),
        ("seconds", {title: on_seconds[title] for title in on_seconds if title in main}, *ON_SECONDS),
        ("profiles", {title: profiles[title] for title in profiles if title in main}, *PROFILES),
    ):
        if panels:
            draw(panels, [docs / f"{file}.svg"], x_label=x_label, y_label=y_label)
