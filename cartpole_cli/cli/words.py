"""Numbers and nouns that agree."""


def count(number: int, noun: str) -> str:
    """As in "1 seed" and "1,000 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
