"""What a run reported while it was trained: a short series of each number, and what it means."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from cartpole_cli.errors import reading
from cartpole_cli.files import MAX_METRICS, read_bytes
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.view.diagnostics import SENTENCES

MAX_POINTS = 60


def diagnostics_of(directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """Each number that has a meaning we know: its name, a sentence, its last value, and at most MAX_POINTS values.

    Raises:
        CartpoleError: the metrics cannot be read.
    """
    series: dict[str, list[float]] = {name: [] for name in SENTENCES}
    with reading(directory.metrics):
        lines = read_bytes(directory.metrics, MAX_METRICS).splitlines() if directory.metrics.exists() else []
    for line in lines:
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                for name, values in series.items():
                    value = record.get(name)
                    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                        values.append(float(value))
    for name, values in series.items():
        if values:
            shown = [float(f"{value:.4g}") for value in _thinned(values)]
            yield {"name": name, "sentence": SENTENCES[name], "last": values[-1], "series": shown}


def _thinned(values: list[float]) -> list[float]:
    if len(values) <= MAX_POINTS:
        return values
    return [values[round(place * (len(values) - 1) / (MAX_POINTS - 1))] for place in range(MAX_POINTS)]
