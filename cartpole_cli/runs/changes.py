"""What may change in the middle of a run, by the command line or an edited recipe.toml, and what becomes of it."""

from collections.abc import Iterator, Sequence
from typing import Any

from cartpole_cli.recipe.environment import Problem
from cartpole_cli.recipe.errors import COMMAND_LINE
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.training.trainer import finished_seeds

HARMLESS = ("logger", "trainer.device", "trainer.checkpoint_every", "trainer.save_every", "trainer.render_every")
"""What changes no number of a training, but for the device's rounding."""
FIXED = ("environment", "policy", "algorithm.name", "trainer.seed", "trainer.num_seeds")


def problems(
    before: Recipe, edited: Recipe, after: Recipe, state: dict[str, Any] | None, directory: RunDirectory
) -> Iterator[str]:
    """Changes that cannot be made."""
    typed = changes(edited, after)
    found = [
        (key, new, f"cannot change in the middle of a run; it was {old!r}")
        for key, (old, new) in changes(before, after).items()
        if _is_fixed(key)
    ]
    if state is not None:
        found += _budget_problems(before, after, state)
    for key, given, reason in found:
        yield f"{COMMAND_LINE if key in typed else directory.recipe}: {key} = {given!r}: {reason}"
    if after.trainer.num_seeds > 1:
        yield from _edits_of_seeds(before, edited, directory)


def _edits_of_seeds(before: Recipe, edited: Recipe, directory: RunDirectory) -> Iterator[str]:
    for seed in before.seeds:
        path = directory.of_seed(seed).recipe
        if path.exists() and load_recipe(path) not in (before.for_seed(seed), edited.for_seed(seed)):
            yield f"{path}: was edited, but all seeds of a study share one recipe: edit {directory.recipe}"


def _budget_problems(before: Recipe, after: Recipe, state: dict[str, Any]) -> Iterator[Problem]:
    """Changes that would make finished seeds go on: last.pth has no weights of seeds that have left the computation."""
    old, new, trainer = before.trainer, after.trainer, state["trainer"]
    left_it = [member for member in range(len(before.seeds)) if member not in trainer["members"]]
    gone = {before.seeds[member]: state["runs"][member] for member in left_it}
    if new.num_steps != old.num_steps:
        steps = dict(zip(trainer["members"], trainer["env_steps"].tolist(), strict=True))
        under_way = [count for member, count in steps.items() if not state["runs"][member]["finished"]]
        done = max(under_way, default=min(steps.values()))
        if new.num_steps <= done:
            yield "trainer.num_steps", new.num_steps, f"the run has done {done} already; allowed: more than that"
        left = [str(seed) for seed, run in gone.items() if not run["solved"] and not run["failure"]]
        if left:
            reason = f"seed {', '.join(left)} spent the old budget while others went on; allowed: unchanged"
            yield "trainer.num_steps", new.num_steps, reason
    solved = [str(seed) for seed, run in gone.items() if run["solved"]]
    if solved and not _is_met(new.stop_at_return, old.stop_at_return):
        reason = f"seed {', '.join(solved)} reached {old.stop_at_return} and left while others went on"
        yield "trainer.stop_at_return", new.stop_at_return, f"{reason}; allowed: at most {old.stop_at_return}"


def _is_met(wanted: float | None, reached: float | None) -> bool:
    return wanted is not None and reached is not None and wanted <= reached


def forbidden_overrides(before: Recipe, overrides: Sequence[str]) -> list[str]:
    """A line for each change of what cannot change, whatever else it would make invalid."""
    pairs = [override.strip().lstrip("~").partition("=") for override in overrides]
    return [
        f"{COMMAND_LINE}: {key}: cannot change in the middle of a run; it was {_value(before, key)!r}"
        for key, _, given in pairs
        if _is_fixed(key) and given.strip("\"' ") != str(_value(before, key))
    ]


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def _is_fixed(key: str) -> bool:
    return is_among(FIXED, key)


def is_among(keys: Sequence[str], key: str) -> bool:
    """Whether it is one of them, or within one."""
    return any(f"{key}.".startswith(f"{other}.") for other in keys)


def changes(before: Recipe, after: Recipe) -> dict[str, tuple[Any, Any]]:
    """(old, new) of every field that differs, by dotted keys."""
    return dict(_differences(before.model_dump(), after.model_dump()))


def _differences(
    before: dict[str, Any], after: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in before | after:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield prefix + key, (old, new)


def notes(before: Recipe, after: Recipe, state: dict[str, Any] | None) -> Iterator[str]:
    """What becomes of linear schedules."""
    old, new = before.trainer, after.trainer
    linear = new.learning_rate_schedule == "linear" or getattr(after.algorithm, "clip_range_schedule", "") == "linear"
    if state is None or not linear or all(finished_seeds(state["trainer"], new.num_steps, new.stop_at_return)):
        return
    done = int(state["trainer"]["env_steps"].max())
    if (new.schedule_steps or new.num_steps) <= done:
        yield (
            f"linear schedules reached 0 at {new.schedule_steps or new.num_steps} steps, and {done} are done: "
            f"training learns nothing more; trainer.schedule_steps={max(new.num_steps, 2 * done)} starts a new schedule"
        )
    elif new.schedule_steps is None and new.num_steps != old.num_steps:
        kept = f" (trainer.schedule_steps={old.num_steps} keeps the old one)" if old.num_steps > done else ""
        yield f"linear schedules now end at {new.num_steps} steps: a new schedule{kept}"
