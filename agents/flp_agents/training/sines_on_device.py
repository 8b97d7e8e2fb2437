"""Sine-wave lifetimes drawn on the learner's device, so that nothing waits for the processor or the bus.

The functions and their distribution are those of :class:`flp_envs.sine.SineTask`; the stream of random numbers is
another, and depends on the device. For meta-training only: results are measured on the environments' own streams.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch

from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError
from flp_envs.sine import INPUT_LIMIT, SineTask


class SineOnDevice:
    """Draws what a :class:`~flp_envs.sine.SineTask` draws, on a device.

    Args:
        task: whose functions and sizes.
        device: where.
        dtype: of inputs and targets.
    """

    def __init__(self, task: SineTask, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.task, self.device, self.dtype = task, device, dtype
        self.amplitudes = torch.as_tensor(task.amplitudes, dtype=dtype, device=device)
        self.phases = torch.as_tensor(task.phases, dtype=dtype, device=device)
        self._generator = torch.Generator(device)

    @classmethod
    def of(cls, env: gym.Env[Any, Any], device: torch.device) -> SineOnDevice:
        """For an environment.

        Raises:
            FLPError: if it is not a sine environment.
        """
        task = getattr(env.unwrapped, "task", None)
        if not isinstance(task, SineTask):
            raise FLPError(f"only sine waves can be drawn on the device, not {env}: leave device_data out")
        return cls(task, device)

    def draw(self, seed: int, step: int, n: int) -> EpisodeTensors:
        """``n`` lifetimes, the same for the same seed and outer step."""
        task, generator = self.task, self._generator.manual_seed(seed * 1_000_003 + step)
        support, total = task.support_steps, task.support_steps + task.query_steps

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, device=self.device, dtype=self.dtype)

        functions = uniform(n, task.function_pool_size).argsort(1)[:, : task.num_functions]
        place = torch.arange(support, device=self.device)
        if task.interleaving:
            mixed = (1 - task.interleaving) * (place / support) + task.interleaving * uniform(n, support)
            place = mixed.argsort(1)
        taught = (place // task.steps_per_function).expand(n, support)
        queried = torch.arange(task.query_steps, device=self.device) // (task.query_size // task.batch_size)
        index = torch.cat([taught, queried.expand(n, -1)], 1)
        points = uniform(n, total, task.batch_size) * (2 * INPUT_LIMIT) - INPUT_LIMIT
        chosen = functions.gather(1, index)
        targets = self.amplitudes[chosen, None] * torch.sin(points + self.phases[chosen, None])
        one_hot = torch.nn.functional.one_hot(index, task.num_functions).to(self.dtype)
        inputs = torch.cat([one_hot.unsqueeze(2).expand(-1, -1, task.batch_size, -1), points.unsqueeze(3)], 3)
        y = targets.unsqueeze(3)
        return EpisodeTensors(inputs[:, :support], y[:, :support], inputs[:, support:], y[:, support:])
