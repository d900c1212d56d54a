"""`cartpole eval`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cartpole_cli.cli.completion import complete_device, complete_run
from cartpole_cli.cli.eval_scores import print_scores
from cartpole_cli.cli.eval_suite import show_suite
from cartpole_cli.cli.progress import ScoringProgress
from cartpole_cli.cli.streams import tell
from cartpole_cli.errors import CartpoleError, printable

if TYPE_CHECKING:
    from cartpole_cli.scoring.scorecard import Scored, Terms

EXIT_BELOW_THRESHOLD = 1
DEFAULT_EPISODES = 100


def evaluate(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="Checkpoints, runs, studies or sweeps (folders or names), or ONNX files.",
            autocompletion=complete_run,
        ),
    ],
    suite: Annotated[
        str | None, typer.Option(help="Score them under a suite's conditions: 'page', or your own file.")
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Episodes (of a suite: per condition); default: 100, or the suite's."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the start states, which all targets share.")] = 0,
    environment: Annotated[str | None, typer.Option(help="Gymnasium id; default: the target's own.")] = None,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Sample actions, instead of the likeliest.")] = False,
    horizon: Annotated[int | None, typer.Option(min=1, max=100_000, help="Time limit in steps.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Exit with code 1 if a mean return (with --suite: the overall %) is lower.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", autocompletion=complete_device)] = "cpu",
    video: Annotated[Path | None, typer.Option(help="Film the first episode: a .mp4 or .gif ([video] extra).")] = None,
    heatmap: Annotated[
        Path | None, typer.Option(help="Draw where on the suite's slider grid it stands: a .png ([plot] extra).")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score policies in Gymnasium's own equations, or under web-page conditions (--suite page).

    --json prints {"targets": [...], "comparisons": [...], "studies": [...]}, with --suite {"targets": [...]}.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise CartpoleError(f"--threshold {threshold}: allowed: a finite number")
    if suite is not None:
        _refuse_with_suite(environment=environment, stochastic=stochastic, horizon=horizon, video=video)
        overall = show_suite(
            targets,
            suite,
            runs_dir,
            device=device,
            seed=seed,
            episodes=episodes,
            heatmap=heatmap,
            as_json=as_json,
        )
        figures = [share * 100 for share in overall]
    else:
        if heatmap is not None:
            raise CartpoleError("--heatmap: draws a suite's slider grid; give --suite page, too")
        from cartpole_cli.scoring.scorecard import Terms

        terms = Terms(
            episodes=episodes or DEFAULT_EPISODES,
            seed=seed,
            environment_id=environment,
            stochastic=stochastic,
            horizon=horizon,
        )
        scored = _score(targets, runs_dir, device, terms, video)
        print_scores(scored, as_json)
        if video is not None and not as_json:
            print(f"filmed: {printable(str(video))}")
        figures = [each.card["mean_return"] for each in scored]
    if threshold is not None and any(figure < threshold for figure in figures):
        raise typer.Exit(EXIT_BELOW_THRESHOLD)


def _refuse_with_suite(**options: Any) -> None:
    given = [f"--{name}" for name, value in options.items() if value not in {None, False}]
    if given:
        raise CartpoleError(f"{', '.join(given)}: not allowed with --suite, which defines its own episodes")


def _score(targets: list[str], runs_dir: Path, device: str, terms: "Terms", video: Path | None) -> "list[Scored]":
    """Score each target, a study's runs one by one, and film the first."""
    import torch

    from cartpole_cli.environments.film import check_can_film, film
    from cartpole_cli.runs.find import runs_of
    from cartpole_cli.scoring.candidates import load_candidate
    from cartpole_cli.scoring.scorecard import score
    from cartpole_cli.training.build import choose_device

    if video is not None:
        check_can_film(video)
    torch.set_num_threads(1)  # more only get in each other's way with tensors this small
    where = choose_device(device)
    scored: list[Scored] = []
    with ScoringProgress("steps") as progress:
        for name, given in [(name, target) for target in targets for name in runs_of(target, runs_dir, tell)]:
            candidate = load_candidate(name, runs_dir, where, study=given if name != given else None)
            record = video is not None and not scored
            scored.append(score(candidate, terms, record=record, on_step=progress.follow(name), tell=tell))
    if video is not None and scored[0].recording is not None:
        film(scored[0].recording, video)
    return scored
