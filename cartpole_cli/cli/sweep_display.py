"""What a person sees of a search: its progress, and a table at the end."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cartpole_cli.cli.share_display import ShareDisplay
from cartpole_cli.estimate import Estimate
from cartpole_cli.sweep.report import WORDS, SweepReport
from cartpole_cli.sweep.sweep import Progress as SweepProgress
from cartpole_cli.sweep.trials import Trial

MARK = " *"
"""Of a finalist that cannot be told from the best."""


class SweepDisplay(ShareDisplay):
    """Follows a search."""

    def __init__(self, console: Console, num_trials: int) -> None:
        super().__init__(console)
        self._num_trials = num_trials

    def see(self, progress: SweepProgress) -> None:
        """Show how far it is."""
        best = progress.best
        score = "" if best is None or best.score is None else f", best {best.score:.1f} (trial {best.number})"
        done = f"{progress.share:.0%} of the {progress.stage}"
        line = f"{progress.trials_done} of {self._num_trials} trials{score}, {done}"
        self.update(line, progress.share, done=progress.trials_done, stage=progress.stage)


def finalists_table(report: SweepReport) -> Table:
    """The finalists, best first, and which of them may be as good as the best."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "score, 95 % interval", "against the recipe", "solved"):
        table.add_column(heading, overflow="fold")
    before = next(outcome for outcome in report.outcomes if outcome.finalist.trial is None)
    for place, outcome in enumerate(report.outcomes):
        is_clear = not place or outcome.is_distinguishable(report.outcomes[0])
        table.add_row(
            Text(outcome.finalist.name + ("" if is_clear else MARK)),
            _interval(outcome.estimate, ""),
            "" if outcome is before else _interval(outcome.change(before), "+"),
            f"{outcome.num_solved} of {len(outcome.scores)}",
        )
    return table


def describe(report: SweepReport) -> list[str]:
    """What was found, in sentences."""
    best, metric, first = report.best, WORDS[report.search.settings.metric], report.outcomes[:1]
    lines = []
    if any(not outcome.is_distinguishable(first[0]) for outcome in report.outcomes[1:]):
        lines.append("* not distinguishable from the best")
    if best is None:
        lines.append("no trial was better than the recipe as it was" if first else "no trial has a score")
        if report.confirmed and report.improvement:
            looked = f"{report.confirmed[0].finalist.name} looked best, but on {len(report.search.seeds(2))} more seeds"
            lines.append(f"{looked} it changes {metric} by {_interval(report.improvement, '+')}")
    else:
        lines += [f"best: trial {best.number}  {_values(best.setting)}", _confirmation(report, best, metric)]
    trials = [outcome.finalist.trial for outcome in report.outcomes]
    lines += [f"trial {each.number}: {_values(each.setting)}" for each in trials if each and each is not best]
    known = {key: value for key, value in report.importances.items() if value is not None}
    if known:
        lines.append(f"importance: {', '.join(f'{key} {value:.0%}' for key, value in known.items())}")
    return lines


def _confirmation(report: SweepReport, best: Trial, metric: str) -> str:
    """Whether it is better than the recipe, on seeds that did not choose it."""
    change = report.improvement
    if change is None:
        return f"{metric} {best.score:.1f} over {len(best.seeds)} seeds, on which it was chosen: not confirmed"
    unclear = ": not distinguishable" if change.interval[0] <= 0 <= change.interval[1] else ""
    seeds = len(report.search.seeds(2))
    return f"against the recipe, on {seeds} more seeds: {metric} {_interval(change, '+')}{unclear}"


def _interval(estimate: Estimate, sign: str) -> str:
    value, low, high = (f"{number:{sign}.1f}" for number in (estimate.value, *estimate.interval))
    return f"{value} ({low} to {high})"


def _values(setting: dict[str, object]) -> str:
    return "  ".join(f"{key}={_shown(value)}" for key, value in setting.items())


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
