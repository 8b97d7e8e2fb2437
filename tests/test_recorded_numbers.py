"""What the code computes is what it computed before its packages were rebuilt, to within rounding."""

import json
from typing import Any

import pytest
import recorded_numbers

RECORDED = json.loads(recorded_numbers.RECORDED.read_text(encoding="utf-8"))


def leaves(content: Any, name: str = "") -> dict[str, Any]:
    """All numbers and texts in nested dicts and lists, by their path; what is exact on one machine only is left out."""
    if isinstance(content, dict):
        return {
            k: v for key, part in content.items() if key != "exact" for k, v in leaves(part, f"{name}/{key}").items()
        }
    if isinstance(content, list):
        return {k: v for i, part in enumerate(content) for k, v in leaves(part, f"{name}/{i}").items()}
    return {name: content}


def same(one: Any, other: Any) -> bool:
    """Whether two leaves are equal, numbers to within rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=2e-3, abs=1e-7)
    return one == other


@pytest.mark.slow
@pytest.mark.parametrize("part", recorded_numbers.PARTS)
def test_numbers_are_those_that_were_recorded(part):
    now, then = leaves(recorded_numbers.PARTS[part]()), leaves(RECORDED[part])
    assert now.keys() == then.keys()
    assert {name: (now[name], then[name]) for name in then if not same(now[name], then[name])} == {}
