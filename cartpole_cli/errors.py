"""What a user is told when something cannot be done."""

from collections.abc import Sequence
from difflib import get_close_matches


class CartpoleError(Exception):
    """One or more problems, a line each, that name the file and field and say what would be right.

    The command line prints the lines and exits with code 2; a traceback is never shown for it.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(" ".join(problem.splitlines()) for problem in problems)
        super().__init__("\n".join(self.problems))


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """ "; did you mean 'x'?" if a choice is close, else nothing."""
    close = get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
