"""Tables and lines of text that fit their terminal. Names in them may hold anything, and are made printable here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cartpole_cli.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GAP = 2
ROWS_AROUND = 8
"""Lines of a screen that headings, legend and prompt take."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table."""

    heading: str
    is_number: bool
    cells: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))


def total_width(columns: list[Column]) -> int:
    """Of a table, gaps included."""
    return sum(column.width + GAP for column in columns) - GAP


def fitting(columns: list[Column], width: int, dispensable: Sequence[str]) -> list[Column]:
    """The columns without those that a narrow terminal has no room for, the first of the dispensable ones first."""
    for heading in dispensable:
        if total_width(columns) > width:
            columns = [column for column in columns if column.heading != heading]
    return columns


def rich_table(columns: list[Column], *, bold: int = 0, repeat_headings: bool = False) -> "Table":
    """A table with one row in bold; `repeat_headings`: below it, too."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_footer=repeat_headings
    )
    for column in columns:
        justify: Literal["right", "left"] = "right" if column.is_number else "left"
        heading = Text(column.heading)
        table.add_column(heading, heading if repeat_headings else "", justify=justify, overflow="fold")
    for place, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        table.add_row(*map(Text, cells), style="bold" if place == bold else None)
    return table


def plain_table(columns: list[Column]) -> list[str]:
    """Lines of padded cells."""
    padded = [
        [f"{text:{'>' if column.is_number else '<'}{column.width}}" for text in (column.heading, *column.cells)]
        for column in columns
    ]
    return [(" " * GAP).join(row).rstrip() for row in zip(*padded, strict=True)]


def print_table(
    console: "Console", columns: list[Column], dispensable: Sequence[str] = (), *, bold: int = 0
) -> list[str]:
    """Print what fits; the headings of what did not. A table taller than its terminal has its headings below, too."""
    columns = [_printable(column, console.encoding) for column in columns]
    if not console.is_terminal:
        console.print("\n".join(plain_table(columns)), markup=False, soft_wrap=True)
        return []
    shown = fitting(columns, console.width, dispensable)
    rows = max((len(column.cells) for column in columns), default=0)
    console.print(rich_table(shown, bold=bold, repeat_headings=rows + ROWS_AROUND > console.height))
    return [column.heading for column in columns if column not in shown and column.heading]


def print_lines(console: "Console", *lines: str) -> None:
    """Print lines that may hold names; a terminal wraps them between words."""
    for line in lines:
        text = printable(line, console.encoding)
        console.print(text, markup=False, soft_wrap=not console.is_terminal)


def print_left_out(console: "Console", headings: list[str]) -> None:
    """Say which columns `print_table` had no room for."""
    if headings:
        print_lines(console, f"left out, the terminal is too narrow: {', '.join(headings)}")


def _printable(column: Column, encoding: str) -> Column:
    cells = [printable(cell, encoding) for cell in column.cells]
    return replace(column, heading=printable(column.heading, encoding), cells=cells)
