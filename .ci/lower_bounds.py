"""Prints the lowest versions that pyproject.toml allows, as constraints for pip. Torch's stays as it is."""

import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

KEPT = ("torch", "torchvision")


def lower_bounds(pyproject: str) -> dict[str, str]:
    """The lower bound of every dependency, and of those of the extras, by name.

    Raises:
        ValueError: if one has none.
    """
    project = tomllib.loads(pyproject)["project"]
    bounds = {}
    for text in [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]:
        requirement = Requirement(text)
        if requirement.name in (*KEPT, project["name"]):
            continue
        lowest = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(lowest) != 1:
            raise ValueError(f"pyproject.toml: {text} has no lower bound")
        bounds[requirement.name] = lowest[0]
    return bounds


if __name__ == "__main__":
    for name, version in lower_bounds(
        (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    ).items():
        print(f"{name}=={version}")
