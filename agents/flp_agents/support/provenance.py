"""Where and when numbers were made."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata

__version__ = metadata.version("flp-envs")

# Whose versions a result depends on.
_DISTRIBUTIONS = ("flp-envs", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")


def stamp() -> dict[str, str]:
    """Versions, time, and kind of machine, without its name."""
    versions = {}
    for name in _DISTRIBUTIONS:
        try:
            versions[f"version_{name.replace('-', '_')}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        **versions,
        "version_python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
