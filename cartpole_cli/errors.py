"""What a user is told when something cannot be done."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from pathlib import Path


class CartpoleError(Exception):
    """One or more problems, a line each, that name the file and field and say what was expected.

    The command line prints the lines and exits with code 2; a traceback is never shown for it.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(printable(" ".join(problem.splitlines())) for problem in problems)
        super().__init__("\n".join(self.problems))


def printable(text: str, encoding: str = "utf-8") -> str:
    """Names of folders and fields of files may hold anything, control sequences too: such letters as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def one_line(error: BaseException, limit: int = 200) -> str:
    """What somebody else's error says, in one line."""
    return printable(" ".join(str(error).split())[:limit]) or type(error).__name__


@contextmanager
def doing(path: Path, what: str) -> Iterator[None]:
    """Raises CartpoleError where an OSError says that a file cannot be read, written, renamed, ..."""
    try:
        yield
    except OSError as error:
        raise CartpoleError(f"{path}: cannot be {what} ({error.strerror or one_line(error)})") from error


def reading(path: Path) -> AbstractContextManager[None]:
    return doing(path, "read")


def writing(path: Path) -> AbstractContextManager[None]:
    return doing(path, "written")


def memory_asked(error: BaseException) -> str | None:
    """How much memory was asked for in vain, in words; None of an error of another kind."""
    text = str(error)
    if not isinstance(error, MemoryError) and not re.search("allocate memory|out of memory", text):
        return None
    exact = re.search(r"allocate (\d+) bytes|allocate ([\d.]+ [KMGTPE]i?B)", text)
    if exact is None:
        return "none left"
    return f"{exact[2] or f'{int(exact[1]) / 2**30:.1f} GiB'} asked for at once"


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """ "; did you mean 'x'?" if another choice is close, else nothing."""
    close = get_close_matches(word, [choice for choice in choices if choice != word], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
