"""How a run or a study that has ended did end, from its files."""

from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.resume import Resumable
from cartpole_cli.runs.seed_run import seed_runs
from cartpole_cli.runs.summary import StudySummary, Summary, summarize_study
from cartpole_cli.training.evaluation import Evaluation


def ended_summary(run: Resumable) -> Summary | StudySummary:
    """What `Session.finish` returned then."""
    assert run.state is not None
    runs = seed_runs(run.recipe, run.directory, run.state)
    summaries = [each.summary(_final_evaluation(each.directory)) for each in runs.values()]
    if len(summaries) == 1:
        return summaries[0]
    seconds = {key: run.state[key] for key in ("seconds", "evaluation_seconds")}
    return summarize_study(run.directory, summaries, **seconds)


def _final_evaluation(directory: RunDirectory) -> Evaluation | None:
    """The final score in a run's folder, None if it cannot be read."""
    try:
        data = Reader().fields(directory.evaluation)
        return Evaluation(str(data["set"]), tuple(map(float, data["returns"])))
    except (ValueError, TypeError, KeyError):
        return None
