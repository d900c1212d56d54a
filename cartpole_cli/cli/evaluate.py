"""`cartpole eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

EXIT_BELOW_THRESHOLD = 1


def evaluate(
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="Checkpoints, run folders or names, or ONNX files.")
    ],
    episodes: Annotated[int, typer.Option(min=1, max=100_000, help="Episodes of each.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the start states; the same for all targets.")] = 0,
    environment: Annotated[str | None, typer.Option(help="Gymnasium id; default: what it was trained on.")] = None,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Sample actions instead of the likeliest.")] = False,
    horizon: Annotated[int | None, typer.Option(min=1, max=100_000, help="Time limit in steps.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Exit with 1 if a mean return is below.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    video: Annotated[Path | None, typer.Option(help="Film the first episode: a .mp4 or .gif ([video] extra).")] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score policies in Gymnasium's own equations."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        import torch

        from cartpole_cli.runs.scorecard import compare, make_scorecard

        torch.set_num_threads(1)  # more only get in each other's way with tensors this small
        cards = []
        for target in targets:
            task = progress.add_task(target, total=None)

            def show(done: int, limit: int, task: "TaskID" = task) -> None:
                progress.update(task, completed=done, total=limit)

            cards.append(
                make_scorecard(
                    target,
                    runs_dir,
                    device=device,
                    episodes=episodes,
                    seed=seed,
                    environment_id=environment,
                    stochastic=stochastic,
                    horizon=horizon,
                    video=video if target == targets[0] else None,
                    on_step=show,
                )
            )
    comparisons = compare(cards)
    if as_json:
        typer.echo(json.dumps(cards[0] if len(cards) == 1 else {"targets": cards, "comparisons": comparisons}))
    else:
        _show(cards, comparisons)
    if threshold is not None and any(card["mean_return"] < threshold for card in cards):
        raise typer.Exit(EXIT_BELOW_THRESHOLD)


ROWS = {
    "mean return": ("mean_return", "{:.1f}"),
    "standard deviation": ("std_return", "{:.1f}"),
    "worst": ("min_return", "{:.1f}"),
    "median": ("median_return", "{:.1f}"),
    "best": ("max_return", "{:.1f}"),
    "mean |x| (m)": ("mean_abs_position", "{:.3f}"),
    "effort, mean |F| (N)": ("effort", "{:.2f}"),
    "switches per second": ("switches_per_second", "{:.1f}"),
}


def _show(cards: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=box.SIMPLE if console.is_terminal else None, pad_edge=False)
    table.add_column("")
    for card in cards:
        table.add_column(Text(card["target"]), justify="right", overflow="fold")
    table.add_row("environment", *(card["environment"] for card in cards))
    table.add_row("episodes", *(str(card["episodes"]) for card in cards))
    for label, (key, form) in ROWS.items():
        if any(key in card for card in cards):
            table.add_row(label, *(form.format(card[key]) if key in card else "-" for card in cards))
        if key == "mean_return":
            table.add_row("95 % interval", *("{:.1f} to {:.1f}".format(*card["ci95"]) for card in cards))
    if any(card["solved"] is not None for card in cards):
        solved = ("-" if card["solved"] is None else f"{card['solved']} of {card['episodes']}" for card in cards)
        table.add_row("solved", *solved)
    console.print(table)
    for pair in comparisons:
        low, high = pair["ci95"]
        verdict = "" if low > 0.5 or high < 0.5 else ": not distinguishable"
        console.print(
            f"{pair['first']} beats {pair['second']} with probability {pair['probability']:.2f} "
            f"(95 % interval {low:.2f} to {high:.2f}){verdict}",
            soft_wrap=True,
            markup=False,
        )
