"""Prints tables so that nothing of them is lost, into any terminal or pipe."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

# Characters in a line where nothing bounds it.
_ENDLESS = 10_000
# Characters that a column of words has at least.
_NARROWEST = 12


def print_table(table: Table) -> None:
    """Prints a table, whose columns of figures are those that are justified to the right.

    On a terminal that is too narrow for it, figures and their headings are broken between words only, and the other
    columns share what is left; if that is next to nothing, the terminal breaks the lines. Elsewhere each row is one
    line.
    """
    console = Console()
    if table.title is not None:
        # As a part of the table it would be broken at the table's width.
        console.print(table.title, style="italic", soft_wrap=True, highlight=False)
        table.title = None
    endless = console.options.update(max_width=_ENDLESS)
    if not console.is_terminal:
        console = Console(width=console.measure(table, options=endless).maximum)
    elif console.measure(table, options=endless).maximum > console.width:
        table.padding, table.pad_edge = (0, 1, 0, 0), False
        for column in table.columns:
            if column.justify == "right":
                cells = (column.header, *column.cells)
                column.width = max(Measurement.get(console, endless, cell).minimum for cell in cells)
        least = sum((column.width or _NARROWEST) + 1 for column in table.columns)
        console = Console(width=max(console.width, least - 1))
    console.print(table)
