"""Where settings come from: a grid, independent draws, or Optuna's TPE.

What a generation of trials is asked for depends on the search, its number, and the trials before it alone: a search
that was interrupted goes on as if it had not been.
"""

import importlib.util
import itertools
import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from cartpole_cli.errors import CartpoleError
from cartpole_cli.randomness import Streams
from cartpole_cli.sweep.dimensions import Choice, Dimension
from cartpole_cli.sweep.search import Search

GENERATION = 16
"""Trials that TPE is asked for at once; it is told of their scores when all have ended."""
STARTUP_TRIALS = 16
"""Random ones, before TPE has anything to learn from."""


@runtime_checkable
class Scored(Protocol):
    """A trial that has ended; `score` is None where it has none, which is worse than any."""

    @property
    def setting(self) -> dict[str, Any]: ...
    @property
    def score(self) -> float | None: ...


def check_sampler(search: Search) -> None:
    """Raises CartpoleError if what the sampler needs is not installed."""
    if search.settings.sampler == "tpe" and importlib.util.find_spec("optuna") is None:
        raise CartpoleError("--sampler tpe needs Optuna: pip install 'cartpole-cli[sweep]'")


def generations(search: Search) -> list[range]:
    """The numbers of the trials that are asked for together, one after the other."""
    count = search.num_trials
    size = GENERATION if search.settings.sampler == "tpe" else count
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def settings_of(search: Search, generation: range, before: Sequence[Scored]) -> list[dict[str, Any]]:
    """The settings of a generation, by its trials' numbers.

    Args:
        search: what is searched.
        generation: one of `generations`.
        before: all trials of those before it, in order.
    """
    dimensions = search.space.dimensions
    keys = [dimension.key for dimension in dimensions]
    match search.settings.sampler:
        case "grid":
            grid = itertools.product(*(dimension.values for dimension in dimensions if isinstance(dimension, Choice)))
            return [dict(zip(keys, values, strict=True)) for values in grid]
        case "random":
            return [_drawn(search, number) for number in generation]
        case "tpe":
            return _suggested(search, generation, before)


def _drawn(search: Search, number: int) -> dict[str, Any]:
    streams, dimensions = Streams([search.settings.sampler_seed], name="sweep"), search.space.dimensions
    shares = streams.uniform("setting", number, shape=(len(dimensions),))[0].tolist()
    return {dimension.key: dimension.at(share) for dimension, share in zip(dimensions, shares, strict=True)}


def _suggested(search: Search, generation: range, before: Sequence[Scored]) -> list[dict[str, Any]]:
    """A sampler of the generation's own, told of all trials so far: no state of Optuna's is kept between them."""
    import optuna  # noqa: PLC0415 (an extra)
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = Streams([search.settings.sampler_seed], name="sweep").integer(0, "tpe", generation.start) % 2**32
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    dimensions = search.space.dimensions
    distributions = {dimension.key: _distribution(dimension) for dimension in dimensions}
    for trial in before:
        # Optuna ranks a pruned trial without values below all others.
        state = TrialState.PRUNED if trial.score is None else TrialState.COMPLETE
        params = {dimension.key: _told(dimension, trial.setting[dimension.key]) for dimension in dimensions}
        study.add_trial(create_trial(state=state, value=trial.score, params=params, distributions=distributions))
    asked = [study.ask(distributions) for _ in generation]
    return [{each.key: _asked(each, trial.params[each.key]) for each in dimensions} for trial in asked]


def _distribution(dimension: Dimension) -> Any:
    from optuna import distributions  # noqa: PLC0415 (an extra)

    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution([json.dumps(value) for value in dimension.values])
    if dimension.is_whole:
        low, high = dimension.ends
        return distributions.IntDistribution(low, high, log=dimension.is_log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)


def _told(dimension: Dimension, value: Any) -> Any:
    return json.dumps(value) if isinstance(dimension, Choice) else value


def _asked(dimension: Dimension, value: Any) -> Any:
    return json.loads(value) if isinstance(dimension, Choice) else value
