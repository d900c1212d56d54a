"""The figures of benchmarks/algorithms.py: results.json, tables.md and the pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from algorithms_scores import PERFECT, Scores, read_scores

from cartpole_cli.intervals import interquartile_mean, probability_of_improvement
from cartpole_cli.plots.curves import X_LABELS, Y_LABELS, Curve, read_curve
from cartpole_cli.plots.pictures import draw

THRESHOLDS = np.linspace(0, PERFECT, 101)
MAIN = ("discrete", "continuous")
Score = Callable[[Scores], list[float]]
COMPARED: dict[str, Score] = {
    "mean_held_out": lambda scores: scores.mean_held_out,
    "steps_to_500": lambda scores: [-inf if steps is None else -steps for steps in scores.steps_to[PERFECT]],
    "final": lambda scores: scores.final,
}
PICTURES = {
    "algorithms": {"CartPole-v1": "discrete", "ContinuousCartPole-v1": "continuous"},
    "grpo": {"GRPO: aggregation and credit": "GRPO", "GRPO: advantage scale": "advantage scale"},
    "dpo": {
        "DPO, window same_length": "DPO, same_length",
        "DPO, window last_k": "DPO, last_k",
        "DPO, window full": "DPO, full",
        "DPO, Bradley-Terry rater": "noisy rater",
    },
    "ingredients": {"epochs": "epochs", "baseline": "baseline"},
}
Row = dict[str, Any]


def write_figures(studies: dict[str, Path], groups: dict[str, str], circumstances: Row, docs: Path) -> None:
    """All figures of finished studies, by cell; `groups` has the group of each."""
    scores = {name: read_scores(path) for name, path in studies.items()}
    cells = {name: {"group": groups[name], **describe(each)} for name, each in scores.items()}
    pairs = [
        compare(first, second, scores)
        for first, second in combinations(scores, 2)
        if family(groups[first]) == family(groups[second]) or first == base_of(second, groups)
    ]
    content = {**circumstances, "cells": cells, "pairs": pairs}
    (docs / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (docs / "tables.md").write_text("\n".join(tables(cells, pairs)))
    draw_pictures(studies, groups, docs)
    profile(scores, groups, docs)


def family(group: str) -> str:
    return group.partition(",")[0]


def base_of(name: str, groups: dict[str, str]) -> str | None:
    """The main cell that a variant is compared with."""
    return name.split(maxsplit=1)[0] if groups[name] not in MAIN else None


def describe(scores: Scores) -> Row:
    """A cell's figures."""
    worst = int(np.argmin(scores.final))
    return {
        "seeds": len(scores.final),
        "budget": scores.budget,
        "commit": scores.commit,
        "mean_held_out": aggregate(scores.mean_held_out),
        "last_held_out": aggregate(scores.last),
        "final": aggregate(scores.final),
        "kept": aggregate(scores.kept),
        "worst_seed": {"seed": worst, "final": round(scores.final[worst], 2)},
        "steps_to": {f"{target:g}": reached(each, scores.budget) for target, each in scores.steps_to.items()},
        "seconds_to": {f"{target:g}": reached(each, scores.seconds) for target, each in scores.seconds_to.items()},
        "seconds": scores.seconds,
        "evaluation_seconds": scores.evaluation_seconds,
        "last_iteration": scores.diagnostics,
    }


def aggregate(values: Sequence[float]) -> Row:
    found = interquartile_mean(values)
    return {"iqm": round(found.value, 3), "ci95": [round(end, 3) for end in found.interval]}


def reached(values: Sequence[float | None], limit: float) -> Row:
    """How many seeds got there, and the IQM over all, those that did not counting `limit`."""
    return {
        "seeds": sum(value is not None for value in values),
        **aggregate([limit if value is None else value for value in values]),
    }


def compare(first: str, second: str, scores: dict[str, Scores], compared: Mapping[str, Score] = COMPARED) -> Row:
    """How probably the first of two cells is better, by each score."""
    row: Row = {"first": first, "second": second}
    for key, score in compared.items():
        found = probability_of_improvement(score(scores[first]), score(scores[second]))
        row[key] = {
            "probability": round(found.value, 3),
            "ci95": [round(end, 3) for end in found.interval],
            "distinguishable": not found.interval[0] <= 0.5 <= found.interval[1],
        }
    return row


def tables(cells: dict[str, Row], pairs: list[Row]) -> list[str]:
    """Markdown."""
    lines = [
        "| cell | env steps to 475 | to 500.0 | seconds to 475 | to 500.0 | seconds in all | mean held-out return "
        "| kept | last | final return | worst seed |",
        f"|{'---|' * 11}",
    ]
    for name, cell in cells.items():
        steps, clock = cell["steps_to"], cell["seconds_to"]
        figures = [
            *(how_many(steps[target], cell["seeds"], ",.0f") for target in ("475", "500")),
            *(bounded(clock[target], cell["seeds"], ".0f") for target in ("475", "500")),
            f"{cell['seconds'] - cell['evaluation_seconds']:.0f}",
            interval(cell["mean_held_out"]),
            f"{cell['kept']['iqm']:.1%}",
            *(interval(cell[key]) for key in ("last_held_out", "final")),
            f"s{cell['worst_seed']['seed']}: {cell['worst_seed']['final']:.1f}",
        ]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    lines += [
        "",
        "| probability that | is better than | by mean held-out return | by env steps to 500.0 | by final return |",
    ]
    lines += [f"|{'---|' * 5}"]
    for pair in pairs:
        figures = [judged(pair[key]) for key in COMPARED]
        lines.append(f"| {pair['first']} | {pair['second']} | {' | '.join(figures)} |")
    return [*lines, ""]


def interval(figure: Row) -> str:
    low, high = figure["ci95"]
    return f"{figure['iqm']:.1f} ({low:.1f} - {high:.1f})"


def how_many(figure: Row, num_seeds: int, form: str) -> str:
    return f"{bounded(figure, num_seeds, form)}; {figure['seeds']} of {num_seeds}"


def bounded(figure: Row, num_seeds: int, form: str) -> str:
    """The IQM; a lower bound where more than a quarter of the seeds did not get there."""
    if not figure["seeds"]:
        return "never"
    return f"{'> ' if 4 * (num_seeds - figure['seeds']) > num_seeds else ''}{figure['iqm']:{form}}"


def judged(figure: Row) -> str:
    low, high = figure["ci95"]
    text = f"{figure['probability']:.2f} ({low:.2f} - {high:.2f})"
    return text if figure["distinguishable"] else f"{text}, not distinguishable"


def draw_pictures(studies: dict[str, Path], groups: dict[str, str], docs: Path) -> None:
    """Learning curves, each panel's cells with the main cells that they vary."""
    for picture, panels in PICTURES.items():
        drawn: dict[str, Sequence[Curve]] = {}
        for title, group in panels.items():
            names = [name for name in studies if groups[name] == group]
            bases = {base_of(name, groups) for name in names}
            names = [name for name in studies if name in bases or name in names]
            if names:
                drawn[title] = [read(name, studies[name]) for name in names]
        if drawn:
            draw(drawn, [docs / f"{picture}.svg"], x_label=X_LABELS["steps"], y_label=Y_LABELS["held-out"])


def read(name: str, study: Path) -> Curve:
    found = read_curve(str(study), study.parent, x="steps", y="held-out")
    return Curve(name, found.x, found.y, found.low, found.high, found.num_seeds, found.num_left_out)


def profile(scores: dict[str, Scores], groups: dict[str, str], docs: Path) -> None:
    """Performance profiles (Agarwal et al. 2021): which share of the seeds scores more than tau."""
    panels = {}
    for title, group in PICTURES["algorithms"].items():
        panels[title] = [
            Curve(name, THRESHOLDS, np.array([np.mean(np.array(each.mean_held_out) > tau) for tau in THRESHOLDS]))
            for name, each in scores.items()
            if groups[name] == group
        ]
    panels = {title: curves for title, curves in panels.items() if curves}
    if panels:
        draw(
            panels,
            [docs / "profiles.svg"],
            x_label="tau: mean held-out return over the budget",
            y_label="share of seeds above tau",
        )
