"""One outer step's loss and gradient as a CUDA graph: recorded once, then replayed without a launch from Python.

A lifetime is thousands of small kernels, and on a GPU their launches cost more than their work. Source of the recipe:
"Whole-network capture" in PyTorch's notes on CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError

_WARM_UP = 3


class GraphedGradient:
    """Replays ``differentiate``, which must leave gradients in the parameters and return the loss.

    Args:
        differentiate: one outer step without anything that waits for the device.
        parameters: whose ``grad`` it fills.

    Raises:
        FLPError: if the parameters are not on a CUDA device.
    """

    def __init__(self, differentiate: Callable[[EpisodeTensors], Tensor], parameters: list[Tensor]) -> None:
        if any(p.device.type != "cuda" for p in parameters):
            raise FLPError("a CUDA graph needs a CUDA device: leave cuda_graph out, or use --device cuda")
        self._differentiate, self._parameters = differentiate, parameters
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: EpisodeTensors | None = None
        self._loss: Tensor | None = None

    def __call__(self, episode: EpisodeTensors) -> Tensor:
        """The loss; the gradients are where they were before, renewed."""
        if self._inputs is None or self._inputs.shapes != episode.shapes:
            self._record(episode)
        assert self._graph is not None
        assert self._inputs is not None
        assert self._loss is not None
        for mine, given in zip(self._inputs, episode, strict=True):
            mine.copy_(given)
        self._graph.replay()
        return self._loss.clone()

    def _record(self, episode: EpisodeTensors) -> None:
        self._inputs = EpisodeTensors(*(tensor.clone() for tensor in episode))
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._forget()
                self._differentiate(self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._forget()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = self._differentiate(self._inputs)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
