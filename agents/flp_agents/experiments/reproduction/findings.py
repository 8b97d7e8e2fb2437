"""What was reproduced, as it lies in files, and the claims that were compared with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flp_agents.experiments.reproduction.files import ReproductionError, json_of, markdown_table, write_all
from flp_agents.support.provenance import stamp
from flp_agents.support.schema import fit
from flp_base.files import parse_json, read_bytes

HEADINGS = ("section", "claim", "where", "against", "", "found")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Claim:
    """One claim in one case.

    Attributes:
        section: of the paper.
        claim: what it says, in a sentence.
        where: the environment.
        against: the baseline, where there is one.
        verdict: "seen", "not seen", "opposite", or "open" where a figure is missing or of one network, or where errors
            vary too much between networks to tell.
        found: the figures that it rests on.
    """

    section: str
    claim: str
    where: str
    against: str
    verdict: str
    found: str


@dataclass(frozen=True)
class Findings:
    """Rows of what was reproduced, as the files in a scale's folder have them; empty where there is no such file."""

    table1: Rows = ()
    table2: Rows = ()
    figure2: Rows = ()
    curves: Rows = ()
    section_7_1: Rows = ()


def read_findings(folder: Path) -> Findings:
    """What ``flp reproduce`` wrote for one scale.

    Raises:
        ReproductionError: if a file is damaged, or there is none.
    """
    names = ("table1.json", "table2.json", "figure2/figure2.json", "curves/curves.json", "section7.1.json")
    if not any((folder / name).exists() for name in names):
        raise ReproductionError(f"nothing is reproduced in {folder}: flp reproduce table1 comes first")
    return Findings(*(_rows_in(folder / name) for name in names))


def write_claims(folder: Path, claims: Sequence[Claim], command: str) -> list[Path]:
    """``claims.md`` and ``claims.json``.

    Raises:
        ReproductionError: if one cannot be written.
    """
    page = f"# The paper's claims\n\nMade with `{command}`.\n\n{markdown_of(claims)}"
    content = {"command": command, "claims": [asdict(claim) for claim in claims], **stamp()}
    return write_all(folder, {"claims.md": page.encode(), "claims.json": json_of(content)})


def markdown_of(claims: Iterable[Claim]) -> str:
    """A table."""
    rows = ({**asdict(claim), "verdict": f"**{claim.verdict}**"} for claim in claims)
    return markdown_table(HEADINGS, (list(row.values()) for row in rows))


def _rows_in(path: Path) -> Rows:
    try:
        rows: Rows = fit("rows", parse_json(read_bytes(path))["rows"], list[dict[str, Any]])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReproductionError(f"cannot read {path}: {error}: delete it, and flp reproduce makes it anew") from None
    return rows
