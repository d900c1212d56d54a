"""Tables of strings that fit their terminal, or are plain lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table."""

    heading: str
    is_number: bool
    cells: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))


def fitting(columns: list[Column], width: int, dispensable: Sequence[str]) -> list[Column]:
    """The columns without those that a narrow terminal has no room for, the first of the dispensable ones first."""
    for heading in dispensable:
        if sum(column.width + GAP for column in columns) - GAP > width:
            columns = [column for column in columns if column.heading != heading]
    return columns


def rich_table(columns: list[Column]) -> "Table":
    """The first row is the winner's."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in columns:
        table.add_column(column.heading, justify="right" if column.is_number else "left", overflow="fold")
    for place, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        table.add_row(*map(Text, cells), style=None if place else "bold")
    return table


def plain_table(columns: list[Column]) -> list[str]:
    """Lines of padded cells."""
    padded = [
        [f"{text:{'>' if column.is_number else '<'}{column.width}}" for text in (column.heading, *column.cells)]
        for column in columns
    ]
    return [(" " * GAP).join(row).rstrip() for row in zip(*padded, strict=True)]
