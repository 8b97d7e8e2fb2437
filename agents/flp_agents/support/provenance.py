"""Where and when numbers were made."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib import metadata

from flp_agents.support.processes import usable_cores

__version__ = metadata.version("flp-envs")

# Whose versions a result depends on.
_DISTRIBUTIONS = ("flp-envs", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")


def machine() -> str:
    """``Linux x86_64, 2 cores``: what kind of machine this is, without its name, and how many cores may be used."""
    cores = usable_cores()
    return f"{platform.system()} {platform.machine()}, {cores} core{'s' if cores != 1 else ''}"


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
        "machine": machine(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
