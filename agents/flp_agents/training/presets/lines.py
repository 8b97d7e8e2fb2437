"""In which line of a TOML file a key stands: the parser does not say."""

from __future__ import annotations

import re

#: The names of tables and the places in lists on the way to a value.
Keys = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}")


def line_of(text: str, keys: Keys) -> int | None:
    """The number of the line of a key, counted from 1; none if it is not found.

    Args:
        text: of the file.
        keys: of the value. Where the value has no line of its own, that of the table that would hold it is found.
    """
    found: tuple[int, int] | None = None
    counts: dict[str, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            name = header[2]
            table = _names(name)
            if header[1] == "[[":
                table = (*table, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            elif table and table[0] in counts:  # a table of the last entry of a list
                table = (table[0], counts[str(table[0])] - 1, *table[1:])
            depth = len(table) if table == keys[: len(table)] else 0
        else:
            depth = len(table) + _named(line, keys[len(table) :]) if table == keys[: len(table)] else 0
        if depth and (found is None or depth > found[0]):
            found = depth, number
    return found[1] if found else None


def _names(dotted: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _named(line: str, keys: Keys) -> int:
    """How many of some keys a line names one after another, the first at its beginning."""
    code, done = line.split("#")[0], 0
    for i, key in enumerate(keys):
        before = r"^\s*" if i == 0 else r"[\s.{,]"
        match = re.search(rf"{before}[\"']?{re.escape(str(key))}[\"']?\s*(?=[.=])", code)
        if not match:
            break
        code, done = code[match.end() :], i + 1
    return done
