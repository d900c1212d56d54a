"""How a run or a study ended, in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from cartpole_cli.runs.summary import StudySummary, Summary
    from cartpole_cli.training.aggregates import Aggregate


def describe_run(summary: "Summary") -> str:
    """The result in a few lines."""
    effort = f"{summary.env_steps} steps, {summary.seconds:.1f} s"
    if summary.status == "interrupted":
        return f"interrupted after {effort}; to go on: cartpole train --resume {summary.run_dir}"
    if summary.status == "failed":
        return (
            f"failed after {effort}: not finite: {summary.failure}; try a lower trainer.learning_rate\n"
            f"last good checkpoint: {summary.best_checkpoint or 'none yet'}"
        )
    assert summary.mean_return is not None
    assert summary.min_return is not None
    assert summary.ci95 is not None
    low, high = summary.ci95
    return (
        f"{'solved' if summary.solved else 'finished'} after {effort}\n"
        f"held-out return {summary.mean_return:.1f} (95 % interval {low:.1f} to {high:.1f}, "
        f"worst {summary.min_return:.1f}, {summary.episodes} episodes)\n"
        f"best checkpoint: {summary.best_checkpoint}"
    )


def study_table(summary: "StudySummary") -> "Table":
    """Interquartile means over the seeds, with 95 % bootstrap intervals, and the seeds that stand out."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    count = len(summary.seeds)
    if summary.mean_return is not None:
        table.add_row("final return, IQM", Text(_interval(summary.mean_return, "{:.1f}")))
    table.add_row("env steps, IQM", Text(_interval(summary.env_steps, "{:,.0f}")))
    table.add_row("solved", Text(f"{summary.num_solved} of {count} ({summary.num_solved / count:.0%})"))
    for seed in summary.seeds:
        if seed.seed == summary.worst_seed:
            table.add_row("worst seed", Text(f"s{seed.seed}: {seed.mean_return:.1f} after {seed.env_steps:,} steps"))
    for seed in summary.seeds:
        if seed.failure is not None:
            table.add_row("failed", Text(f"s{seed.seed}: not finite: {seed.failure}"))
    return table


def describe_study(summary: "StudySummary") -> str:
    """What to do next, after the table."""
    effort = f"{sum(seed.env_steps for seed in summary.seeds):,} steps, {summary.seconds:.1f} s"
    if summary.status == "interrupted":
        return f"interrupted after {effort}; to go on: cartpole train --resume {summary.run_dir}"
    return f"{summary.status} after {effort}\nstudy: {summary.run_dir}"


def _interval(aggregate: "Aggregate", form: str) -> str:
    value, low, high = (form.format(number) for number in (aggregate.iqm, *aggregate.ci95))
    return f"{value} (95 % interval {low} to {high})"
