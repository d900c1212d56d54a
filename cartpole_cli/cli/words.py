"""Numbers as people read them."""

import math

BLOCKS = "▁▂▃▄▅▆▇█"


def count(amount: int, noun: str) -> str:
    """As in "1 seed" and "1,000 seeds"."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def sparkline(values: list[float]) -> str:
    """One character per value, from the lowest to the highest block."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def number(value: float) -> str:
    """Three figures, more for large numbers."""
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """As in "40 s", "12 min" and "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
