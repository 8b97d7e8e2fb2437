"""Tables as CSV, in which no text is a formula to a spreadsheet program."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flp_base.files import spelt

# What a spreadsheet takes for the beginning of a formula, after characters that it skips.
# Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|-inf", re.ASCII)


def csv_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None, *, newline: str = "\n") -> bytes:
    """A heading and a line for each row.

    Args:
        rows: values by column; what a row has not, or is none, stays empty.
        columns: in their order; none: those of all rows, in the order in which they come. Others are left out.
        newline: at the end of each line.

    Returns:
        UTF-8. Text that a spreadsheet would take for a formula has ``'`` before it, which it does not show; a number
        that was written out, such as ``-0.25``, is no formula.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=newline)
    writer.writerow(map(_no_formula, columns))
    writer.writerows([_no_formula(row.get(column, "")) for column in columns] for row in rows)
    return spelt(text.getvalue()).encode()


def _no_formula(value: Any) -> Any:
    looks_like_one = isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{value}" if looks_like_one else value
