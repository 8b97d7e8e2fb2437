"""Numbers and tables in plain text, HTML, LaTeX and Markdown; any text as it is, whatever is in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from flp_agents.evaluation.uncertainty import Interval

# What stands for a number that is not known.
UNKNOWN = "\N{EN DASH}"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
DIGITS = 3
ERROR_DIGITS = 2
# Outside of this range a power of ten is easier to read than zeros.
SMALLEST, LARGEST = 1e-4, 1e6


def significant(value: float, digits: int = DIGITS) -> tuple[str, int | None]:
    """A finite number as its digits, and the power of ten that they are multiplied by, if any.

    ``0.000487`` and 2 digits make ``("0.00049", None)``, ``0.0000487`` makes ``("4.9", -5)``.
    """
    if value == 0:
        return "0", None
    if SMALLEST <= abs(value) < LARGEST:
        return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}", None
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return mantissa, int(exponent)


def plain(value: float, digits: int = DIGITS) -> str:
    """``4.9e-05``."""
    if not math.isfinite(value):
        return UNKNOWN
    mantissa, exponent = significant(value, digits)
    return mantissa if exponent is None else f"{mantissa}e{exponent:+03d}"


def as_latex(value: float, digits: int = DIGITS) -> str:
    r"""``$4.9\times10^{-5}$``."""
    if not math.isfinite(value):
        return "--"
    mantissa, exponent = significant(value, digits)
    return f"${mantissa}$" if exponent is None else rf"${mantissa}\times10^{{{exponent}}}$"


def as_html(value: float, digits: int = DIGITS) -> Markup:
    """The same with a raised exponent and true signs."""
    if not math.isfinite(value):
        return Markup(UNKNOWN)
    mantissa, exponent = significant(value, digits)
    power = "" if exponent is None else f"{TIMES}10<sup>{exponent}</sup>"
    return Markup(f"{mantissa}{power}".replace("-", MINUS))


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: as it is; none: a number.
        value: that number.
        error: its standard error, shown behind it in brackets.
        interval: shown instead of the number.
        best: whether it stands out.
    """

    text: str | None = None
    value: float = math.nan
    error: float = math.nan
    interval: Interval | None = None
    best: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table that can be written in several formats.

    Attributes:
        caption: one line.
        headings: of its columns, the first one text, the others numbers.
        rows: as many entries each.
        notes: below it.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "·": r"\textperiodcentered{}",
    UNKNOWN: "--",
    **{character: f"\\{character}" for character in "{}$&#%_"},
    # At the beginning of a row they would belong to the end of the last one.
    **{character: f"{{{character}}}" for character in "[]*"},
}


def escape_latex(text: str) -> str:
    """Any text, so that LaTeX shows it as it is, on one line."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def escape_markdown(text: str) -> str:
    """Any text, so that Markdown shows it as it is, on one line and within one cell."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~$&:@])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """Text without line breaks and characters that cannot be seen, which may also turn its direction."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def latex(table: TextTable) -> str:
    """A table environment in the style of the package booktabs."""
    rows = [[_written(entry, as_latex, escape_latex, r"\textbf{%s}") for entry in row] for row in table.rows]
    columns = "l" + "r" * (len(table.headings) - 1)
    notes = [rf"\\[2pt]{{\footnotesize {escape_latex(note)}}}" for note in table.notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(table.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape_latex, table.headings)) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
        ]
    )


def markdown(table: TextTable) -> str:
    """A table as GitHub shows it."""
    rows = [[_written(entry, plain, escape_markdown, "**%s**") for entry in row] for row in table.rows]
    lines = [list(map(escape_markdown, table.headings)), ["---", *["---:"] * (len(table.headings) - 1)], *rows]
    notes = [line for note in table.notes for line in ("", escape_markdown(note))]
    return "\n".join([escape_markdown(table.caption), "", *(f"| {' | '.join(line)} |" for line in lines), *notes])


def _written(entry: Entry, number: Callable[..., str], text: Callable[[str], str], bold: str) -> str:
    if entry.text is not None:
        return text(entry.text)
    if entry.interval is not None:
        low, high = entry.interval
        return f"[{number(low)}, {number(high)}]" if math.isfinite(low) else text(UNKNOWN)
    shown = number(entry.value, DIGITS)
    shown = bold % shown if entry.best else shown
    return f"{shown} ({number(entry.error, ERROR_DIGITS)})" if math.isfinite(entry.error) else shown
