"""Adam's moments and step counts as named tensors, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flp_agents.learners.learner import Learner
from flp_agents.training.trainer_state import InvalidState
from flp_base.errors import in_short

# What Adam keeps for each meta-parameter that it has moved.
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


def moments_of(optimizer: torch.optim.Optimizer, learner: Learner[Any]) -> dict[str, Tensor]:
    """Named after the meta-parameters that they belong to."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value.detach()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def take_moments(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]
) -> None:
    """The inverse of :func:`moments_of`; :func:`check_moments` comes first."""
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        # Adam keeps its step count on the CPU.
        place = value.device if field == "step" else parameters[name].device
        optimizer.state[parameters[name]][field] = value.to(place, copy=True)


def check_moments(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    """Makes sure that Adam's state is that of some of the meta-parameters, and whole for each of them.

    Raises:
        InvalidState: naming the tensor that is wrong.
    """
    of_each: dict[str, set[str]] = {}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or field not in _MOMENTS:
            raise InvalidState(f"the optimizer's tensors hold {in_short(key)}, which is of no meta-parameter")
        shape = torch.Size() if field == "step" else parameter.shape
        kinds = (torch.float32, torch.float64) if field == "step" else (parameter.dtype,)
        if tensor.shape != shape or tensor.dtype not in kinds:
            form = f"{tuple(tensor.shape)} {tensor.dtype}"
            raise InvalidState(f"the optimizer's {in_short(key)} is {form}, expected {tuple(shape)} {kinds[0]}")
        of_each.setdefault(name, set()).add(field)
    for name, found in of_each.items():
        if found != _MOMENTS:
            raise InvalidState(f"the optimizer's tensors lack {name}/{min(_MOMENTS - found)}")
