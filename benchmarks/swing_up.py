"""How far do the four algorithms get on a task that is not solved? Studies of swing-up, equal budgets.

    python benchmarks/swing_up.py --tune             # one search for each algorithm: docs/swing-up/searches.json
    python benchmarks/swing_up.py                    # every cell, then the figures; goes on where it stopped
    python benchmarks/swing_up.py --tiny             # some of it in a minute or two, for CI; means nothing

A cell is a shipped recipe with its algorithm's setting from the search and the changes below. Equal for all: network,
start states' generator, held-out episodes and env-step budget. Each algorithm's search draws 16 settings of three
numbers on CartPoleSwingUp-v1, trains each for a third of the budget on two seeds that no cell has, and takes the
one with the highest mean held-out return. Before it begins, the script prints what the training will take, from one
iteration of each cell. Studies are in the work folder, figures in docs/swing-up/.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from cells import Cell, is_finished, made_by, recipe_text, train
from swing_up_figures import write_figures
from timing import CARTPOLE, run

from cartpole_cli.recipe.files import recipe_from_text
from cartpole_cli.sweep.estimate import seconds_per_step
from cartpole_cli.training.build import build_trainer

DOCS = Path(__file__).parent.parent / "docs" / "swing-up"
BUDGET = 1_000_000
EQUAL = {
    "environment.id": "CartPoleSwingUp-v1",
    "policy.features": "trig",
    "policy.hidden_sizes": [64, 64],
    "policy.activation": "tanh",
    "trainer.evaluation_episodes": 32,
    "trainer.num_steps": BUDGET,
    "trainer.schedule_steps": BUDGET,
}
EVALUATIONS = 20
"""Of each seed, spread evenly over the budget, or one per iteration where there are fewer of these."""
SEARCHES: dict[str, dict[str, str]] = {
    "reinforce": {"environment.num_envs": "8,16,32", "algorithm.gamma": "0.98,0.99,0.995,1"},
    "ppo": {"environment.num_envs": "16,32,64", "algorithm.gamma": "0.98,0.99,0.995,0.998"},
    "grpo": {"algorithm.gamma": "0.98,0.99,0.995,1", "algorithm.num_epochs": "2,4,8"},
    "dpo": {"algorithm.groups_per_minibatch": "1,2,8", "algorithm.beta": "log(0.03,0.3)"},
}
SMALL_BATCH = {"environment.num_envs": 32, "algorithm.group_size": 4}
"""The fewest episodes that make eight groups of four; with the shipped 128, iterations would be too few."""
BASES: dict[str, dict[str, Any]] = {"reinforce": {}, "ppo": {}, "grpo": SMALL_BATCH, "dpo": SMALL_BATCH}
LEARNING_RATES = "log(5e-4,5e-2)"
TUNING = ("--trials", "16", "--seeds", "2", "--finalists", "0", "--sampler", "random")
TUNING_SEED = 1000
SUITE_EPISODES = 2
"""Per condition and seed; of a grid of sliders, in each cell."""
TINY = {
    "trainer.num_steps": 2_000,
    "trainer.evaluation_episodes": 4,
    "policy.hidden_sizes": [16],
    "environment.max_episode_steps": 20,
}
FORCE = {"environment.id": "ContinuousCartPoleSwingUp-v1"}
SPARSE = {"environment.reward.kind": "sparse"}
PHYSICS = {
    "environment.physics.distribution": "log_uniform",
    "environment.physics.gravity": [4.5, 22.0],
    "environment.physics.cart_mass": [0.18, 5.5],
    "environment.physics.pole_half_length": [0.18, 1.1],
    "environment.physics.cart_drag": [0.3, 1.5],
    "environment.physics.pole_drag": [0.6, 1.5],
}
ON_THE_PAGE = ("reinforce", "ppo", "grpo", "dpo")
"""Cells that are also trained under randomized physics; both are judged under a web page's conditions."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "reinforce": ("reinforce", {"algorithm.baseline": "leave_one_out"}),
    "reinforce value": ("reinforce", {"algorithm.baseline": "value"}),
    "ppo": ("ppo", {}),
    "grpo": ("grpo", {"algorithm.branch_from": "start"}),
    "grpo branched": ("grpo", {"algorithm.branch_from": "episode"}),
    "grpo unrelated": ("grpo", {"algorithm.branch_from": "none"}),
    "dpo": ("dpo", {"algorithm.branch_from": "start"}),
    "dpo branched": ("dpo", {"algorithm.branch_from": "episode"}),
}
CELLS = {
    **{name: Cell("pushes", recipe, changes) for name, (recipe, changes) in VARIANTS.items()},
    **{f"{name}, force": Cell("force", recipe, changes | FORCE) for name, (recipe, changes) in VARIANTS.items()},
    **{f"{name}, sparse": Cell("sparse", VARIANTS[name][0], VARIANTS[name][1] | SPARSE) for name in ("ppo", "grpo")},
    **{f"{name}, physics": Cell("physics", VARIANTS[name][0], VARIANTS[name][1] | PHYSICS) for name in ON_THE_PAGE},
    **{
        f"grpo unrelated, {128 // size} of {size}": Cell(
            "group size",
            "grpo",
            {"algorithm.branch_from": "none", "environment.num_envs": 128, "algorithm.group_size": size},
        )
        for size in (4, 16)
    },
}
MAIN = ("reinforce", "reinforce value", "ppo", "grpo", "dpo")
SEEDS, SEEDS_OF_MAIN = 16, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--tune", action="store_true", help="search for each algorithm's setting")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="CELL")
    parser.add_argument("--workers", type=int, default=1, help="processes; the figures but the seconds are the same")
    parser.add_argument("--tiny", action="store_true", help="tiny budgets and two seeds")
    parser.add_argument("--work", type=Path, default=Path("runs/swing-up"), help="where the studies are kept")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where figures go")
    options = parser.parse_args()
    options.docs.mkdir(parents=True, exist_ok=True)
    workers = ("--workers", str(options.workers))
    if options.tune:
        tune(options.work, options.docs, workers, tiny=options.tiny)
        return
    settings = json.loads((DOCS / "searches.json").read_text())["chosen"]
    texts = {name: cell_recipe(name, settings, tiny=options.tiny) for name in options.cells}
    studies = {name: options.work / file_name(name) for name in CELLS}
    tell_the_cost({name: text for name, text in texts.items() if not is_finished(studies[name])})
    for name, text in texts.items():
        train(studies[name], text, *workers)
    finished = {name: path for name, path in studies.items() if is_finished(path)}
    pages = {name: on_the_page(path, tiny=options.tiny) for name, path in finished.items() if is_on_the_page(name)}
    write_figures(finished, {name: cell.group for name, cell in CELLS.items()}, pages, made_by(), options.docs)


def file_name(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")


def cell_recipe(name: str, settings: dict[str, dict[str, Any]], *, tiny: bool) -> str:
    cell = CELLS[name]
    changes = EQUAL | BASES[cell.recipe] | settings[cell.recipe] | cell.changes
    seeds = {"trainer.seed": 0, "trainer.num_seeds": SEEDS_OF_MAIN if name in MAIN else SEEDS}
    smaller = TINY | {"trainer.num_seeds": 2} if tiny else {}
    return recipe_text(cell.recipe, changes | every(cell.recipe, changes) | seeds | smaller)


def every(recipe: str, changes: dict[str, Any]) -> dict[str, int]:
    """Iterations between evaluations: as many evaluations for all, but no more than iterations."""
    steps_per_episode = 32 if recipe == "ppo" else 500
    iterations = changes["trainer.num_steps"] / (changes["environment.num_envs"] * steps_per_episode)
    return {"trainer.evaluate_every": max(1, round(iterations / EVALUATIONS))}


def tell_the_cost(recipes: dict[str, str]) -> None:
    """Core-seconds of training, from one iteration of four seeds of each."""
    total = 0.0
    for name, text in recipes.items():
        recipe = recipe_from_text(text, source=name)
        members = [recipe.for_seed(seed) for seed in range(min(4, recipe.trainer.num_seeds))]
        seconds = seconds_per_step(build_trainer(members, torch.device("cpu")))
        total += seconds * recipe.trainer.num_steps * recipe.trainer.num_seeds
    print(f"studies to train: {len(recipes)}, at most about {total / 3600:.1f} core-hours", flush=True)


def tune(work: Path, docs: Path, workers: tuple[str, ...], *, tiny: bool) -> None:
    """The same search for each algorithm; those that have finished are not done again."""
    reports: dict[str, Any] = {}
    for name, space in SEARCHES.items():
        search, path = work / f"search_{name}", work / f"search_{name}.toml"
        if not search.exists():
            work.mkdir(parents=True, exist_ok=True)
            default = {"environment.num_envs": 32, "trainer.num_steps": BUDGET // 3, "trainer.seed": TUNING_SEED}
            changes = EQUAL | default | BASES[name] | VARIANTS[name][1]
            path.write_text(recipe_text(name, changes | every(name, changes) | (TINY if tiny else {})))
        values = [f"{key}={value}" for key, value in {"trainer.learning_rate": LEARNING_RATES, **space}.items()]
        new = ("--recipe", str(path), *values, *TUNING, "--name", search.name)
        start = ("--resume", str(search)) if search.exists() else new
        done = run([*CARTPOLE, "sweep", *start, "--runs-dir", str(work), *workers, "--quiet"])
        print(f"{name}: {done.cpu_seconds:.0f} s", flush=True)
        trials = [json.loads(line) for line in (search / "trials.jsonl").read_text().splitlines()]
        reports[name] = {"report": json.loads((search / "report.json").read_text()), "trials": trials}
    chosen = {name: found["report"]["best"]["setting"] for name, found in reports.items()}
    content = {**made_by(), "chosen": chosen, "searches": reports}
    (docs / "searches.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(chosen))


def is_on_the_page(name: str) -> bool:
    return name in ON_THE_PAGE or CELLS[name].group == "physics"


def on_the_page(study: Path, *, tiny: bool) -> list[dict[str, Any]]:
    """What best.pth of the first seeds does under a web page's conditions; kept beside the study."""
    path = study.with_name(f"{study.name}.page.json")
    if not path.exists():
        seeds = sorted(study.glob("s*/best.pth"), key=lambda best: int(best.parent.name[1:]))
        episodes = "1" if tiny else str(SUITE_EPISODES)
        words = [*CARTPOLE, "eval", *map(str, seeds[:SEEDS]), "--suite", "page", "--episodes", episodes, "--json"]
        path.write_text(run(words).output)
    found: list[dict[str, Any]] = json.loads(path.read_text())["targets"]
    return found


if __name__ == "__main__":
    main()
