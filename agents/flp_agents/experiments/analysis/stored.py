"""An analysis on disk: its arrays in one NumPy archive, without pickles."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from flp_agents.experiments.analysis.together import Analysis
from flp_agents.experiments.analysis.updates import Updates

# Of what is measured, and how.
_FORMAT_VERSION = 1
_OPTIONAL = ("task_ends", "changes")


def archive_of(analysis: Analysis, about: Mapping[str, str | int]) -> bytes:
    """A file's content.

    Args:
        analysis: what was measured.
        about: what it was measured of, to be asked for when it is read.
    """
    arrays = {of.name: getattr(analysis, of.name) for of in fields(Analysis) if of.name != "updates"}
    arrays |= {f"updates_{of.name}": getattr(analysis.updates, of.name) for of in fields(Updates)}
    arrays |= {f"about_{key}": value for key, value in {**about, "format_version": _FORMAT_VERSION}.items()}
    data = io.BytesIO()
    np.savez_compressed(data, **{name: value for name, value in arrays.items() if value is not None})
    return data.getvalue()


def read_analysis(path: Path, about: Mapping[str, str | int]) -> Analysis | None:
    """Reads it, if it is there, whole, and of what is asked for.

    Args:
        path: of the file.
        about: what it must have been measured of.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            content = dict(archive)
        wanted = {**about, "format_version": _FORMAT_VERSION}
        if any(content[f"about_{key}"].item() != value for key, value in wanted.items()):
            return None
        updates = Updates(**{of.name: content[f"updates_{of.name}"] for of in fields(Updates)})
        arrays = {of.name: content.get(of.name) for of in fields(Analysis) if of.name not in ("updates", "metric")}
        if any(value is None for name, value in arrays.items() if name not in _OPTIONAL):
            return None
        return Analysis(metric=content["metric"].item(), updates=updates, **arrays)  # type: ignore[arg-type]
    except Exception:
        # A damaged archive raises whatever NumPy, zipfile and zlib raise; what is not read is measured anew.
        return None
