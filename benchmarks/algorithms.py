"""How do the four algorithms, and the ingredients of GRPO and DPO, compare? Studies of 32 seeds, equal budgets.

    python benchmarks/algorithms.py --tune           # learning rates: docs/benchmark/learning_rates.json
    python benchmarks/algorithms.py                  # every cell, then the figures; goes on where it stopped
    python benchmarks/algorithms.py --cells ppo grpo # some cells; figures of all that have finished
    python benchmarks/algorithms.py --tiny           # all of it in a minute or two, for CI; means nothing

A cell is a shipped recipe with the changes below. Equal for all: network (so a seed's initial hidden layers are the
same in every cell), start states' generator, held-out episodes, env-step budget, and no early stop. Learning rates are
chosen for each algorithm and task from the same six values by the interquartile mean of `Scores.mean_held_out` over 8
seeds from 1000 on, which no cell has. Studies are in the work folder, figures in docs/benchmark/.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from algorithms_figures import write_figures
from algorithms_scores import read_scores
from cells import Cell, is_finished, made_by, recipe_text, train
from timing import pin_to_one_core

from cartpole_cli.intervals import interquartile_mean

DOCS = Path(__file__).parent.parent / "docs" / "benchmark"
LEARNING_RATES = (1e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)
TUNING_SEEDS, FIRST_TUNING_SEED = 8, 1000
EQUAL = {
    "policy.hidden_sizes": [64, 64],
    "policy.activation": "tanh",
    "policy.features": "scaled",
    "trainer.evaluation_episodes": 32,
    "trainer.num_steps": 100_000,
}
TINY = {"trainer.num_steps": 2_000, "trainer.evaluation_episodes": 4, "policy.hidden_sizes": [16]}
PINNED = {
    "ppo": {"algorithm.num_epochs": 6, "algorithm.clip_range": 0.2},
    "dpo": {"algorithm.beta": 0.1, "trainer.max_grad_norm": 0.5},
}
"""What a recipe said when the figures were made; these were tuned again since, for their own learning rates."""
EVALUATE_EVERY = {"reinforce": 2, "ppo": 2, "grpo": 1, "dpo": 1}
ALGORITHMS = tuple(EVALUATE_EVERY)
TUNED = (*ALGORITHMS, *(f"{name}-continuous" for name in ALGORITHMS))


CELLS = {
    **{name: Cell("discrete", name) for name in ALGORITHMS},
    **{f"{name}-continuous": Cell("continuous", f"{name}-continuous") for name in ALGORITHMS},
    **{
        f"grpo {aggregation} {credit}": Cell(
            "GRPO", "grpo", {"algorithm.aggregation": aggregation, "algorithm.credit": credit}
        )
        for aggregation in ("grpo", "dapo", "dr_grpo")
        for credit in ("outcome", "to_go")
        if (aggregation, credit) != ("dapo", "to_go")
    },
    **{
        f"dpo {loss} {window}": Cell(
            f"DPO, {window}",
            "dpo",
            {"algorithm.loss": loss, "algorithm.window": window, "algorithm.label_smoothing": smoothing},
        )
        for window in ("same_length", "last_k", "full")
        for loss, smoothing in (("sigmoid", 0.0), ("ipo", 0.0), ("hinge", 0.0), ("robust", 0.1))
        if (loss, window) != ("sigmoid", "same_length")
    },
    **{
        f"dpo rater {temperature:g}": Cell(
            "noisy rater", "dpo", {"algorithm.rater": "bradley_terry", "algorithm.rater_temperature": temperature}
        )
        for temperature in (1.0, 10.0, 100.0)
    },
    **{
        f"grpo scale {name}": Cell(
            "advantage scale", "grpo", {"algorithm.advantage_scale": scale, "algorithm.scale_floor": floor}
        )
        for name, scale, floor in (("none", "none", 5.0), ("group floor 0", "group", 0.0), ("group", "group", 5.0))
    },
    **{f"{name} one epoch": Cell("epochs", name, {"algorithm.num_epochs": 1}) for name in ("ppo", "grpo", "dpo")},
    "reinforce value": Cell("baseline", "reinforce", {"algorithm.baseline": "value"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--tune", action="store_true", help="choose the learning rates")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="CELL")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--tiny", action="store_true", help="tiny budgets and two seeds")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="where the studies are kept")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where figures go")
    options = parser.parse_args()
    pin_to_one_core()
    tiny = TINY if options.tiny else {}
    options.docs.mkdir(parents=True, exist_ok=True)
    if options.tune:
        tune(options.work, options.docs, tiny)
        return
    rates = json.loads((DOCS / "learning_rates.json").read_text())["chosen"]
    for name in options.cells:
        cell = CELLS[name]
        seeds = {"trainer.num_seeds": 2 if options.tiny else options.seeds, "trainer.seed": 0}
        changes = {**cell.changes, "trainer.learning_rate": rates[cell.recipe], **tiny, **seeds}
        train(options.work / name.replace(" ", "_"), recipe_of_cell(cell.recipe, changes))
    finished = {name: options.work / name.replace(" ", "_") for name in CELLS}
    finished = {name: path for name, path in finished.items() if is_finished(path)}
    write_figures(finished, {name: CELLS[name].group for name in finished}, made_by(), options.docs)


def tune(work: Path, docs: Path, tiny: dict[str, Any]) -> None:
    """The same search for each algorithm and task."""
    found: dict[str, dict[float, float]] = {}
    for recipe in TUNED:
        found[recipe] = {}
        for rate in LEARNING_RATES:
            study = work / f"tune_{recipe}_{rate:g}"
            seeds = {"trainer.num_seeds": 2 if tiny else TUNING_SEEDS, "trainer.seed": FIRST_TUNING_SEED}
            train(study, recipe_of_cell(recipe, {"trainer.learning_rate": rate, **tiny, **seeds}))
            found[recipe][rate] = round(interquartile_mean(read_scores(study).mean_held_out).value, 3)
    chosen = {recipe: max(scores, key=scores.__getitem__) for recipe, scores in found.items()}
    content = {
        **made_by(),
        "chosen": chosen,
        "mean_held_out_iqm": found,
        "first_seed": FIRST_TUNING_SEED,
        "seeds": TUNING_SEEDS,
    }
    (docs / "learning_rates.json").write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(chosen))


def recipe_of_cell(name: str, changes: dict[str, Any]) -> str:
    """The shipped recipe with what is equal for all and what is changed."""
    every = {"trainer.evaluate_every": EVALUATE_EVERY[name.removesuffix("-continuous")]}
    return recipe_text(name, {**EQUAL, **PINNED.get(name, {}), **every, **changes})


if __name__ == "__main__":
    main()
