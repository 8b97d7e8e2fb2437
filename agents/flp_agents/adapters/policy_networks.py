"""Networks of stable-baselines3's policies for this package's environments: small, and the same for every pair.

A minibatch of 32 pairs poses the same question 32 times. Stock policies would learn 32 separate answers from one
reward; here one network answers every pair, given the pair's own input and what the policy remembers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentMultiInputActorCriticPolicy
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from flp_agents.learners.objective import IncompatibleSpaces, in_words

WIDTH = 32
# 3 x 3 convolutions of stride 2 below image inputs, until so few pixels are left at a side.
CHANNELS, SMALLEST_SIDE = 16, 4
# In this order, which saved policies rely on.
_FIRST = ("y", "has_target", "phase")


class EpisodeFeatures(BaseFeaturesExtractor):
    """Observations as rows of numbers: what comes first (target, its flag, the phase), then each pair's input.

    Numbers are scaled into [-1, 1] by the space's bounds, images of any size go through small convolutions. Stock
    policies take it as well, whose own network for images asks for 36 pixels at least::

        PPO("MultiInputPolicy", env, policy_kwargs={"features_extractor_class": EpisodeFeatures})

    Args:
        observation_space: of one env. What wrappers add to the protocol's keys, such as the time, is passed on as well.

    Raises:
        IncompatibleSpaces: if a key of the protocol is not there, or ``x`` is neither ``(B, size)`` numbers nor one
            image ``(C, H, W)``.

    Attributes:
        first: how many numbers come before the inputs.
        pairs: ``B``, 1 for images.
        inputs: numbers for each pair.
    """

    def __init__(self, observation_space: spaces.Dict) -> None:
        missing = [key for key in ("x", *_FIRST) if key not in getattr(observation_space, "spaces", {})]
        if missing:
            raise IncompatibleSpaces(
                f"expected observations with x, y, has_target and phase, got {in_words(observation_space)}: for flat "
                "observations, use MlpPolicy as it is"
            )
        x, y = observation_space["x"], observation_space["y"]
        images = isinstance(y, spaces.Discrete) and len(x.shape or ()) == 3
        if not images and len(x.shape or ()) != 2:
            raise IncompatibleSpaces(
                f"expected x of (pairs, size) numbers or an image, got {in_words(x)}: flatten observations before they "
                "are stacked, and use MlpPolicy as it is"
            )
        convolutions = _convolutions(x.shape) if images and x.shape is not None else nn.Identity()
        pairs = 1 if images or x.shape is None else x.shape[0]
        others = [key for key in observation_space.spaces if key not in ("x", *_FIRST)]
        scales = {"y": _scale(y), **{key: _scale(observation_space[key]) for key in others}}
        first = sum(spaces.flatdim(observation_space[key]) for key in (*_FIRST, *others))
        with torch.no_grad():
            shown = convolutions(torch.zeros(1, *(x.shape or ()))).numel()
        super().__init__(observation_space, first + shown)
        self.first, self.pairs, self.inputs = first, pairs, shown // pairs
        self.convolutions = convolutions
        self.register_buffer("x_scale", torch.as_tensor(_scale(x) if not images else 1.0), persistent=False)
        self._others = others
        for key, scale in scales.items():
            self.register_buffer(f"{key}_scale", torch.as_tensor(scale), persistent=False)

    x_scale: Tensor
    y_scale: Tensor

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """``(n, first + B * inputs)``."""
        x = self.convolutions(observations["x"] * self.x_scale)
        first = [observations["y"] * self.y_scale, observations["has_target"], observations["phase"]]
        first += [observations[key] * getattr(self, f"{key}_scale") for key in self._others]
        return torch.cat([part.flatten(1) for part in (*first, x)], 1)


class PairNetwork(nn.Module):
    """The part of a policy between features and answers, in the place of stable-baselines3's ``MlpExtractor``.

    Args:
        features: what the observations become.
        memory: numbers that a recurrent policy puts before the features, 0 for others.
        critic_inputs: numbers that the critic gets.
    """

    def __init__(self, features: EpisodeFeatures, memory: int, critic_inputs: int) -> None:
        super().__init__()
        self.pairs, self.inputs = features.pairs, features.inputs
        self.latent_dim_pi, self.latent_dim_vf = features.pairs * WIDTH, WIDTH
        self.of_all = nn.Linear(memory + features.first, WIDTH)
        self.of_pair = nn.Linear(features.inputs, WIDTH, bias=False)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.critic = nn.Sequential(nn.Linear(critic_inputs, WIDTH), nn.Tanh())

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Of policies whose actor and critic share all inputs."""
        return self.forward_actor(latent), self.forward_critic(latent)

    def forward_actor(self, latent: Tensor) -> Tensor:
        """``(n, memory + first + B * inputs)`` to ``(n, B * WIDTH)``, every pair by the same weights."""
        x = latent[:, -self.pairs * self.inputs :].reshape(-1, self.pairs, self.inputs)
        rest = latent[:, : -self.pairs * self.inputs]
        first = torch.tanh(self.of_all(rest).unsqueeze(1) + self.of_pair(x))
        return torch.tanh(self.hidden(first)).flatten(1)

    def forward_critic(self, latent: Tensor) -> Tensor:
        """``(n, critic_inputs)`` to ``(n, WIDTH)``."""
        value: Tensor = self.critic(latent)
        return value


class SharedOutput(nn.Module):
    """``(n, B * WIDTH)`` to ``(n, B * outputs)``, every pair by the same weights, which begin small."""

    def __init__(self, pairs: int, outputs: int) -> None:
        super().__init__()
        self.pairs, self.linear = pairs, nn.Linear(WIDTH, outputs)
        nn.init.orthogonal_(self.linear.weight, 0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, latent: Tensor) -> Tensor:
        """Answers of all pairs, one after another."""
        answers: Tensor = self.linear(latent.reshape(len(latent), self.pairs, WIDTH))
        return answers.flatten(1)


class MemorylessPolicy(MultiInputActorCriticPolicy):
    """For stable-baselines3's PPO: answers by the observation alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "features_extractor_class": EpisodeFeatures})

    def _build_mlp_extractor(self) -> None:
        _build_pair_network(self, memory=0, critic_inputs=self.features_dim)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        _share_output(self, lr_schedule)


class MemoryPolicy(RecurrentMultiInputActorCriticPolicy):
    """For sb3-contrib's RecurrentPPO: an LSTM sees the whole observation; every pair's answer follows from the LSTM's
    output, the observation, and the pair's own input.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "features_extractor_class": EpisodeFeatures, "enable_critic_lstm": False})

    def _build_mlp_extractor(self) -> None:
        _build_pair_network(self, memory=self.lstm_output_dim, critic_inputs=self.lstm_output_dim)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        _share_output(self, lr_schedule)

    @staticmethod
    def _process_sequence(features: Tensor, lstm_states: Any, episode_starts: Tensor, lstm: nn.LSTM) -> Any:
        sequences = lstm_states[0].shape[1]
        starts = episode_starts.reshape(sequences, -1)
        if not starts[:, 1:].any():
            # Lifetimes begin at most where sequences do: then the steps need not be taken one by one.
            kept = (1.0 - starts[:, 0]).view(1, sequences, 1)
            lstm_states = (kept * lstm_states[0], kept * lstm_states[1])
            episode_starts = torch.zeros_like(episode_starts)
        output, states = RecurrentMultiInputActorCriticPolicy._process_sequence(
            features, lstm_states, episode_starts, lstm
        )
        return torch.cat([output, features], 1), states


def _build_pair_network(policy: Any, *, memory: int, critic_inputs: int) -> None:
    policy.mlp_extractor = PairNetwork(policy.features_extractor, memory, critic_inputs).to(policy.device)


def _share_output(policy: Any, lr_schedule: Any) -> None:
    outputs = policy.action_net.out_features // policy.mlp_extractor.pairs
    policy.action_net = SharedOutput(policy.mlp_extractor.pairs, outputs).to(policy.device)
    policy.optimizer = policy.optimizer_class(policy.parameters(), lr=lr_schedule(1), **policy.optimizer_kwargs)


def _scale(space: spaces.Space[Any]) -> Any:
    """What brings numbers of a space into [-1, 1]; 1 where they have no bounds."""
    if not isinstance(space, spaces.Box):
        return np.float32(1.0)
    largest = np.maximum(np.abs(space.low), np.abs(space.high))
    known = np.isfinite(largest) & (largest > 0)
    return (1.0 / np.where(known, largest, 1.0)).astype(np.float32)


def _convolutions(shape: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    channels, side = shape[0], min(shape[1:])
    while side > SMALLEST_SIDE:
        layers += [nn.Conv2d(channels, CHANNELS, 3, stride=2, padding=1), nn.ReLU()]
        channels, side = CHANNELS, (side + 1) // 2
    return nn.Sequential(*layers)
