"""The figures of benchmarks/gradients.py: results.json, tables.md and a picture."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from cartpole_cli.plots.curves import Curve
from cartpole_cli.plots.pictures import draw

DRAWN = (
    "REINFORCE, leave one out",
    "REINFORCE, value, gamma 0.99",
    "GAE(0.9), gamma 0.99",
    "GAE(0.9), gamma 0.99, refitted",
    "GRPO outcome, G = 16",
    "GRPO to-go, G = 16",
    "GRPO to-go, G = 16, unrelated",
    "DPO, window same_length",
    "REINFORCE, none",
)
"""What may not be decidable is last, so that the others have one colour in both panels."""
MOST_STEPS, NUM_POINTS = 50_000, 101
Results = dict[str, dict[str, dict[str, Any]]]


def write_figures(results: Results, circumstances: str, docs: Path) -> None:
    """All figures, by policy and estimator."""
    docs.mkdir(parents=True, exist_ok=True)
    content = {"circumstances": circumstances, "policies": results}
    (docs / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (docs / "tables.md").write_text("\n".join(line for place in results for line in table(place, results[place])))
    panels = {place: curves(results[place]) for place in results if "middle" in place}
    draw(panels, [docs / "gradients.svg"], x_label="env steps of a gradient", y_label="cosine with the true gradient")


def table(place: str, of_place: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown."""
    heading = "| estimator | angle, degrees | noise, env steps | cosine at 10,000 env steps |"
    lines = [f"## {place}", "", heading, f"|{'---|' * 4}"]
    for name, found in of_place.items():
        angle = _with_error(found["angle"], found["angle_error"], ".0f")
        noise = _with_error(found["noise"], found["noise_error"], ",.0f")
        cosine = "" if found["cosine"] is None else f"{found['cosine']:.2f}"
        lines.append(f"| {name} | {angle} | {noise} | {cosine} |")
    return [*lines, "", ""]


def curves(of_place: dict[str, dict[str, Any]]) -> list[Curve]:
    """The cosine over the env steps that a gradient is made of."""
    steps = np.linspace(0, MOST_STEPS, NUM_POINTS)[1:]
    found = []
    for name in DRAWN:
        given = of_place.get(name)
        if given and given["cosine"] is not None:
            values = math.cos(math.radians(given["angle"])) / np.sqrt(1 + given["noise"] / steps)
            found.append(Curve(name, steps, values))
    return found


def _with_error(value: float | None, error: float | None, form: str) -> str:
    """Not decidable: the mean is not above its noise."""
    if value is None:
        return "not decidable"
    return f"{value:{form}}" if error is None else f"{value:{form}} ± {error:{form}}"
