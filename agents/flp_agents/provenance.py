"""Where and when numbers were made."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib import metadata

from flp_agents.processes import usable_cores

# Whose versions a result depends on.
_DISTRIBUTIONS = ("flp-envs", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")


def machine() -> str:
    """``Linux x86_64, 2 cores``: what kind of machine this is, without its name, and how many cores may be used."""
    cores = usable_cores()
    return f"{platform.system()} {platform.machine()}, {cores} core{'s' if cores != 1 else ''}"


def version_of(distribution: str) -> str:
    """The version of an installed distribution; empty where it is not installed, as with sources on the path alone."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def versions() -> dict[str, str]:
    """The versions of what a result depends on, by distribution; those that are not installed are left out."""
    return {name: version for name in _DISTRIBUTIONS if (version := version_of(name))}


def stamp() -> dict[str, str]:
    """Versions, time, and kind of machine, without its name."""
    return {
        **{f"version_{name.replace('-', '_')}": version for name, version in versions().items()},
        "version_python": platform.python_version(),
        "machine": machine(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
