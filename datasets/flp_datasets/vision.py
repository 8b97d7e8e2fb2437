"""torchvision, where a dataset needs it; beside a CPU build of torch too."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from flp_base.errors import FLPError

# Operators that torchvision tells torch more about when it is imported. Its wheels for CUDA bring them in a library
# that cannot be loaded beside a CPU build of torch; declared by name, they let the import go on. Datasets call none.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class MissingTorchvision(FLPError, ImportError):
    """torchvision cannot be imported."""


def import_torchvision() -> ModuleType:
    """torchvision with its datasets.

    Raises:
        MissingTorchvision: saying what to install.
    """
    try:
        return _import()
    except ImportError:
        raise MissingTorchvision(
            "torchvision is needed to download datasets: pip install torchvision, the release that goes with your torch"
        ) from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())
    if "torchvision::" not in reason:
        raise MissingTorchvision(f"torchvision cannot be imported: {reason}")
    from torch import library

    new_library: Any = library.Library
    operators = new_library("torchvision", "DEF")
    for operator in _OPERATORS:
        operators.define(operator)
    _KEPT.append(operators)
    try:
        return _import()
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise MissingTorchvision(
            f"torchvision does not fit the torch that is installed ({reason}): install the release that goes with it"
        ) from None


_KEPT: list[object] = []  # a library's operators are gone when it is


def _import() -> ModuleType:
    importlib.import_module("torchvision.datasets")
    return importlib.import_module("torchvision")
