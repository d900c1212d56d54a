"""What there is to see of a run, and of a study: lines and tables of their newest report."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, runtime_checkable

from rich.table import Table
from rich.text import Text

from cartpole_cli.cli.words import number, sparkline
from cartpole_cli.training.evaluation import Evaluation
from cartpole_cli.training.reports import Report, SeedReport
from cartpole_cli.training.trainer import Trainer

SPARKLINE_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Goal:
    """When a seed is done: its budget spent, or a return reached and confirmed on longer episodes."""

    num_steps: int
    stop_at_return: float | None
    max_episode_steps: int
    confirmation_horizon: int

    @classmethod
    def of(cls, trainer: Trainer) -> "Goal":
        settings = trainer.settings
        limit, horizon = trainer.environment.max_episode_steps, trainer.evaluator.confirmation_horizon
        return cls(settings.num_steps, settings.stop_at_return, limit, horizon)

    def awaited(self, evaluation: Evaluation | None, confirmation: Evaluation | None) -> str:
        """What a seed that was last evaluated so is still trained for."""
        if self.stop_at_return is None:
            return f"{self.num_steps:,} steps"
        if evaluation is None or confirmation is None:
            return f"{self.stop_at_return:.1f} held out, and confirmed; at most {self.num_steps:,} steps"
        most = f" of {self.max_episode_steps}" if self.confirmation_horizon > 1 else ""
        steps = self.max_episode_steps * self.confirmation_horizon
        return f"{evaluation.mean:.1f} held out, not yet confirmed ({confirmation.mean:.1f}{most} over {steps:,} steps)"


@runtime_checkable
class Standing(Protocol):
    """How far a seed is."""

    @property
    def env_steps(self) -> int: ...
    @property
    def solved(self) -> bool: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def finished(self) -> bool: ...


@runtime_checkable
class View(Protocol):
    """Takes every report, and shows how things stand."""

    def see(self, report: Report) -> None: ...

    @property
    def env_steps(self) -> int:
        """Steps done so far, of all seeds."""
        ...

    @property
    def budget_used(self) -> int:
        """The same, with a seed that has finished counting its whole budget."""
        ...

    @property
    def evaluated(self) -> bool:
        """Whether the newest report has held-out returns."""
        ...

    def line(self, speed: str) -> str: ...
    def table(self) -> Table: ...


class RunView:
    """One seed, with all its numbers.

    Args:
        goal: what it is trained for.
        best: its best held-out return before it was resumed.
    """

    def __init__(self, goal: Goal, best: float | None = None) -> None:
        self._returns: deque[float] = deque(maxlen=SPARKLINE_WIDTH)
        self._goal, self._best = goal, best
        self._evaluation: Evaluation | None = None
        self._confirmation: Evaluation | None = None

    def see(self, report: Report) -> None:
        self._iteration, self._seed = report.iteration, report.seeds[0]
        episode_return, evaluation = self._seed.episode_return, self._seed.evaluation
        if episode_return is not None and math.isfinite(episode_return):
            self._returns.append(episode_return)
        if evaluation is not None:
            self._evaluation, self._confirmation = evaluation, self._seed.confirmation
            if self._seed.improved:
                self._best = evaluation.mean

    @property
    def env_steps(self) -> int:
        return self._seed.env_steps

    @property
    def budget_used(self) -> int:
        return self._seed.env_steps

    @property
    def evaluated(self) -> bool:
        return self._seed.evaluation is not None

    def line(self, speed: str) -> str:
        seed = self._seed
        parts = [f"iteration {self._iteration}", f"steps {seed.env_steps}", speed]
        if seed.episode_return is not None:
            parts.append(f"return {number(seed.episode_return)}")
        if seed.evaluation is not None:
            parts.append(f"held out {number(seed.evaluation.mean)}")
        if seed.confirmation is not None:
            parts.append(f"confirmation {number(seed.confirmation.mean)}")
        if self._best is not None:
            parts.append(f"best {number(self._best)}")
        parts += [f"{name} {number(value)}" for name, value in seed.diagnostics.items()]
        return "  ".join(parts)

    def table(self) -> Table:
        table = _grid()
        trend = sparkline(list(self._returns))
        table.add_row("iteration", Text(f"{self._iteration:,}, {self.env_steps:,} env steps"))
        table.add_row("return", Text(f"{number(self._returns[-1])}  {trend}" if self._returns else "no episode yet"))
        table.add_row("held out", Text(self._held_out()))
        if not self._seed.solved:
            table.add_row("until", Text(self._goal.awaited(self._evaluation, self._confirmation)))
        for name, value in self._seed.diagnostics.items():
            table.add_row(name.replace("_", " "), Text(number(value)))
        if self._seed.hint is not None:
            table.add_row("hint", Text(self._seed.hint, style="dim"))
        return table

    def _held_out(self) -> str:
        if self._evaluation is None:
            return "not evaluated yet"
        best = "" if self._best is None else f", best {number(self._best)}"
        return f"{number(self._evaluation.mean)}{best}"


class StudyView:
    """Many seeds: how many are where, and the median of those under way.

    Args:
        goal: what each seed is trained for.
        num_seeds: of the study.
        left: seeds that had finished before a study was resumed, and are in no report any more.
    """

    def __init__(self, goal: Goal, num_seeds: int, left: Sequence[Standing] = ()) -> None:
        self._goal, self._num_seeds, self._left = goal, num_seeds, left
        self._newest: dict[int, SeedReport] = {}
        self._held_out: dict[int, float] = {}
        self._trend: deque[float] = deque(maxlen=SPARKLINE_WIDTH)

    def see(self, report: Report) -> None:
        self._iteration = report.iteration
        self._newest |= {seed.member: seed for seed in report.seeds}
        evaluated = {seed.member: seed.evaluation.mean for seed in report.seeds if seed.evaluation is not None}
        self._held_out |= evaluated
        self.evaluated = bool(evaluated)
        returns = [seed.episode_return for seed in report.seeds if seed.episode_return is not None]
        self._return = median(returns) if returns else None
        if self._return is not None and math.isfinite(self._return):
            self._trend.append(self._return)

    @property
    def env_steps(self) -> int:
        return sum(seed.env_steps for seed in self._seeds)

    @property
    def budget_used(self) -> int:
        return sum(self._goal.num_steps if seed.finished else seed.env_steps for seed in self._seeds)

    @property
    def _seeds(self) -> list[Standing]:
        return [*self._left, *self._newest.values()]

    def line(self, speed: str) -> str:
        parts = [f"iteration {self._iteration}", f"steps {self.env_steps}", speed, self._standing()]
        if self._return is not None:
            parts.append(f"return, median {number(self._return)}")
        if self._held_out:
            parts.append(f"held out {self._held_out_spread()}")
        return "  ".join(parts)

    def table(self) -> Table:
        table = _grid()
        table.add_row("iteration", Text(f"{self._iteration:,}, {self.env_steps:,} env steps"))
        table.add_row("seeds", Text(self._standing()))
        trend = sparkline(list(self._trend))
        table.add_row(
            "return, median", Text(f"{number(self._trend[-1])}  {trend}" if self._trend else "no episode yet")
        )
        table.add_row("held out", Text(self._held_out_spread() if self._held_out else "not evaluated yet"))
        table.add_row("until", Text(self._goal.awaited(None, None)))
        return table

    def _standing(self) -> str:
        solved = sum(seed.solved for seed in self._seeds)
        failed = sum(seed.failure is not None for seed in self._seeds)
        training = self._num_seeds - sum(seed.finished for seed in self._seeds)
        text = f"{training} of {self._num_seeds} seeds training, {solved} solved"
        return text + (f", {failed} failed" if failed else "")

    def _held_out_spread(self) -> str:
        values = sorted(self._held_out.values())
        return f"lowest {number(values[0])}, median {number(median(values))}, highest {number(values[-1])}"


def _grid() -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table
