"""What a user is told when something cannot be done."""


class CartpoleError(Exception):
    """One or more problems, a line each, that name the file and field and say what would be right.

    The command line prints the lines and exits with code 2; a traceback is never shown for it.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(" ".join(problem.splitlines()) for problem in problems)
        super().__init__("\n".join(self.problems))
