"""The benchmark's results as a table and as files."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flp_agents.support.processes import usable_cores
from flp_base.files import write_atomically
from flp_base.machine_memory import readable

_HEADINGS = ("configuration", "strategy", "seconds", "memory", "to autograd", "to JAX", "to the floor")

Results = Mapping[str, Mapping[str, Mapping[str, float | None]]]


def table(results: Results) -> str:
    """As Markdown."""
    lines = [_HEADINGS, ("---",) * len(_HEADINGS)]
    for configuration, strategies in results.items():
        for strategy, row in strategies.items():
            ratios = (row[f"ratio_to_{peer}"] for peer in ("autograd", "jax", "floor"))
            memory = "" if row["peak_bytes"] is None else readable(row["peak_bytes"])
            shown = ("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
            lines.append((configuration, strategy, f"{row['seconds']:.2f}", memory, *shown))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_report(results: Results, folder: Path, command: str) -> None:
    """Writes ``meta_gradient.json``, with what they were measured on, and ``meta_gradient.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "machine": machine(), "results": results}
    write_atomically(folder / "meta_gradient.json", (json.dumps(content, indent=1) + "\n").encode())
    write_atomically(folder / "meta_gradient.md", (table(results) + "\n").encode())


def machine() -> dict[str, Any]:
    """What decides about timings."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "jax": importlib.metadata.version("jax") if importlib.util.find_spec("jax") else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
