"""The outer loop: moves the meta-parameters so that lifetimes end well."""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.meta_gradient import Full, MetaGradient
from flp_agents.lifetime.outer_objectives import OuterObjective, QueryLoss, UnsupportedObjective, check_outer_objective
from flp_agents.lifetime.running import EpisodeTensors, run_lifetime
from flp_agents.support.memory import explaining_out_of_memory
from flp_agents.support.processes import Processes
from flp_agents.support.schema import WrongValue, fit
from flp_agents.training.cuda_graph import GraphedGradient
from flp_agents.training.prefetch import DrawingAhead
from flp_agents.training.saved_trainers import SavedTrainer
from flp_agents.training.schedules import SCHEDULES, rate_factor
from flp_agents.training.sines_on_device import SineOnDevice
from flp_agents.training.trainer_state import InvalidState, TrainerProgress
from flp_base.errors import FLPError, InvalidSize, check_at_least, check_choice, check_number, check_seed, in_short
from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

# What Adam keeps for each meta-parameter that it has moved.
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


class UntrainedParameters(FLPError, ValueError):
    """Meta-parameters for which nobody says how they are trained."""


class MetaTrainingDiverged(FLPError, RuntimeError):
    """Loss or gradient stayed non-finite for too many outer steps in a row."""


@dataclass(frozen=True)
class OuterStep:
    """What one outer step did.

    Attributes:
        step: how many outer steps are done, this one included.
        outer_loss: what the outer objective makes of the lifetimes, mean over the meta-batch.
        gradient_norm: of all meta-parameters together, before clipping.
        skipped: whether the step was skipped because loss or gradient was not finite.
        skipped_total: how many were skipped so far.
    """

    step: int
    outer_loss: float
    gradient_norm: float
    skipped: bool
    skipped_total: int

    @property
    def query_loss(self) -> float:
        """The outer loss as it is called where it is the query's, with :class:`QueryLoss`, the default."""
        return self.outer_loss


class MetaTrainer(SavedTrainer, ShowsOptions):
    """Adam on the meta-parameters, one learning rate for each kind of them.

    Args:
        learner: whose meta-parameters are trained, in place.
        env: draws the lifetimes; any env that speaks the episode protocol, wrapped or not.
        rates: outer learning rate for every one of ``learner.parameter_groups()``; 0 freezes a group.
        meta_batch: lifetimes for each outer step.
        gradient_clip: largest norm of the gradient of all meta-parameters together; 0: no clipping.
        schedule: "constant", or "cosine": from the full rate at the first outer step to 1 % at the last.
        outer_steps: how many outer steps the schedule spans.
        warm_up: outer steps over which the rates rise from 0.
        restart_adam_every: outer steps after which Adam forgets its moments, as the released code's sine script does;
            0: never.
        meta_gradient: how the outer loss is differentiated through the lifetime.
        outer_objective: what the outer loss is: of the query, of the predictions along the way, or of both.
        processes: with whom the meta-batch is shared; all must be given the same of everything else.
        device_data: draw lifetimes on the learner's device, see :mod:`flp_agents.training.sines_on_device`; sine waves
            only.
        draw_ahead: draw the next lifetimes in a thread while the present ones are lived through. Until :meth:`pause`,
            nothing else may draw from ``env`` then.
        cuda_graph: record loss and gradient as a CUDA graph; needs a GPU, and a learner that draws nothing at birth.
        seed: of the stream of lifetimes.
        patience: outer steps in a row that may be skipped before the run stops.

    Raises:
        UntrainedParameters: for a kind of meta-parameter without a rate, or a parameter that belongs to no kind, or to
            two.
        InvalidChoice: for a rate of a kind of meta-parameter that the learner has not, or an unknown schedule.
        InvalidSize: for sizes out of range.
        UnsupportedObjective: if ``outer_objective`` is none.
    """

    def __init__(
        self,
        learner: Learner[Any],
        env: gym.Env[Any, Any],
        *,
        rates: Mapping[str, float],
        meta_batch: int = 1,
        gradient_clip: float = 1.0,
        schedule: str = "constant",
        outer_steps: int = 20_000,
        warm_up: int = 0,
        restart_adam_every: int = 0,
        meta_gradient: MetaGradient = Full(),
        outer_objective: OuterObjective = QueryLoss(),
        processes: Processes = Processes(),
        device_data: bool = False,
        draw_ahead: bool = False,
        cuda_graph: bool = False,
        seed: int = 0,
        patience: int = 20,
    ) -> None:
        self.learner, self.meta_gradient = learner, meta_gradient
        self.outer_objective = check_outer_objective(outer_objective)
        self.processes, self._draw_ahead = processes, draw_ahead
        self._ahead: DrawingAhead | None = None
        self.live_in(env, meta_batch)
        self.outer_steps = check_at_least("outer_steps", outer_steps, 1)
        self.warm_up = check_at_least("warm_up", warm_up, 0)
        self.restart_adam_every = check_at_least("restart_adam_every", restart_adam_every, 0)
        self.patience = check_at_least("patience", patience, 1)
        self.schedule = check_choice("schedule", schedule, SCHEDULES)
        self.gradient_clip = check_number("gradient_clip", gradient_clip, least=0)
        groups = _checked_groups(learner)
        for name in rates:
            check_choice("group of meta-parameters", name, groups)
        if missing := [name for name in groups if name not in rates]:
            raise UntrainedParameters(
                f"no outer learning rate is given for {', '.join(missing)}: add it to rates, such as "
                f"{{{missing[0]!r}: 1e-3}} (flp train: --rate {missing[0]}=1e-3); 0 freezes"
            )
        self.rates = {name: check_number(f"the outer learning rate of {name}", rates[name], least=0) for name in groups}
        if not any(self.rates.values()):
            raise InvalidSize(f"expected a learning rate above 0 for at least one of {', '.join(groups)}")
        self.optimizer = torch.optim.Adam(
            [
                {"params": parameters, "lr": self.rates[name], "name": name}
                for name, parameters in groups.items()
                if self.rates[name] > 0
            ]
        )
        self.device_data, self.seed = device_data, check_seed(seed)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.cuda_graph = cuda_graph
        self._graphed = GraphedGradient(self._one_share, list(learner.parameters())) if cuda_graph else None
        self.step_count = 0
        self.seconds = 0.0
        # Tells it from others that begin alike, and where it was saved.
        self.run = secrets.token_hex(8)
        self.places = {}
        self.skipped_total = 0
        self._skipped_in_a_row = 0
        seed_env(env, seed)

    def live_in(self, env: gym.Env[Any, Any], meta_batch: int) -> None:
        """From now on draws ``meta_batch`` lifetimes from ``env`` for each outer step.

        Raises:
            InvalidSize: if the processes cannot share them.
            IncompatibleSpaces: if its inputs mean something else than those that the learner was made for.
        """
        self.learner.check_inputs(env)
        self.pause()
        self.env, self.meta_batch = env, check_at_least("meta_batch", meta_batch, 1)
        self._share = self.processes.share(meta_batch)
        # Of the run on disk that it goes on with, if it does.
        self.plan = None

    def pause(self) -> None:
        """Gives the env back: what was drawn ahead of it is forgotten, and will be drawn again."""
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def step(self) -> OuterStep:
        """Lives through ``meta_batch`` lifetimes and moves the meta-parameters once.

        Raises:
            MetaTrainingDiverged: when ``patience`` outer steps in a row were not finite.
            UnsupportedObjective: if the outer loss depends on none of the meta-parameters.
        """
        if self.device_data:
            sampler = SineOnDevice.of(self.env, self._parameters[0].device)
            return self.step_on(sampler.draw(self.seed, self.step_count, self.meta_batch))
        if not self._draw_ahead:
            return self.step_on(draw_episodes(self.env, self.meta_batch))
        if self._ahead is None:
            self._ahead = DrawingAhead(self.env, self.meta_batch)
        return self.step_on(self._ahead.take())

    def step_on(self, episode: Episode | EpisodeTensors) -> OuterStep:
        """The same on given episodes."""
        began = time.monotonic()
        self.learner.train()
        if self.restart_adam_every and self.step_count % self.restart_adam_every == 0:
            self.optimizer.state.clear()
        loss = self._differentiate(episode)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.gradient_clip or math.inf)
        finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(norm))
        if finite:
            factor = rate_factor(self.schedule, self.step_count, outer_steps=self.outer_steps, warm_up=self.warm_up)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[group["name"]] * factor
            self.optimizer.step()
            self._skipped_in_a_row = 0
        else:
            self.skipped_total += 1
            self._skipped_in_a_row += 1
        self.step_count += 1
        self.seconds += time.monotonic() - began
        if self._skipped_in_a_row >= self.patience:
            raise MetaTrainingDiverged(
                f"the outer loss or its gradient was not finite in {self._skipped_in_a_row} outer steps in a row, "
                f"the last of them step {self.step_count}: lower the initial plasticity coefficient or inner learning "
                "rate, or the outer learning rates"
            )
        return OuterStep(self.step_count, float(loss), float(norm), not finite, self.skipped_total)

    def _differentiate(self, episode: Episode | EpisodeTensors) -> Tensor:
        """The mean outer loss, and its gradient in the parameters' ``grad``, over the whole meta-batch."""
        tensors = episode if isinstance(episode, EpisodeTensors) else EpisodeTensors.of(self.learner, episode)
        with explaining_out_of_memory(self.meta_gradient):
            if self._graphed is not None:
                loss = self._graphed(tensors)
            else:
                self.learner.zero_grad(set_to_none=True)
                loss = self._one_share(tensors)
        if self.processes.world > 1:
            for parameter in self._parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.processes.average([loss, *(p.grad for p in self._parameters if p.grad is not None)])
        return loss

    def _one_share(self, episode: EpisodeTensors) -> Tensor:
        """The same over this process's lifetimes."""
        state = self.learner.init(len(episode.support_x))
        if self.processes.world > 1:
            episode, state = episode.part(self._share), pytree.tree_map(lambda t: t[self._share], state)
        lifetime = run_lifetime(
            self.learner, episode, state, meta_gradient=self.meta_gradient, outer_objective=self.outer_objective
        )
        loss = lifetime.outer_loss.mean()
        if not loss.requires_grad:
            raise UnsupportedObjective(
                f"{self.outer_objective} of {type(self.learner).__name__} depends on none of its meta-parameters: use "
                "another outer objective, or a learner whose predictions are differentiable"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def progress(self) -> dict[str, Any]:
        """All but tensors that continuing needs, fit for JSON."""
        ahead = self._ahead
        random_state = ahead.random_state() if ahead else self.env.unwrapped.np_random.bit_generator.state
        return {
            "step_count": self.step_count,
            "skipped_total": self.skipped_total,
            "skipped_in_a_row": self._skipped_in_a_row,
            "patience": self.patience,
            "random_state": random_state,
        }

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Adam's moments and step counts, named after the meta-parameters they belong to."""
        names: dict[torch.Tensor, str] = {parameter: name for name, parameter in self.learner.named_parameters()}
        tensors = {}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"{names[parameter]}/{key}"] = value.detach()
        return tensors

    def restore(self, progress: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Continues where :meth:`progress` and :meth:`optimizer_tensors` were taken, to the bit.

        The learner's meta-parameters must have been restored already.

        Raises:
            InvalidState: if they are not of a trainer like this one.
        """
        try:
            known = fit("progress", progress, TrainerProgress)
            for name in ("step_count", "skipped_total", "skipped_in_a_row"):
                check_at_least(f"progress.{name}", known[name], 0)
            patience = check_at_least("progress.patience", known.get("patience", self.patience), 1)
        except (WrongValue, InvalidSize) as error:
            raise InvalidState(str(error)) from None
        parameters = {name: p for name, p in self.learner.named_parameters() if p in set(self._parameters)}
        _check_moments(tensors, parameters)
        self.pause()
        try:
            self.env.unwrapped.np_random.bit_generator.state = known["random_state"]
        except Exception:  # whatever NumPy says of a state that is none
            raise InvalidState("progress.random_state is not the state of the environment's random numbers") from None
        self.step_count, self.skipped_total = known["step_count"], known["skipped_total"]
        self._skipped_in_a_row, self.patience = known["skipped_in_a_row"], patience
        self.optimizer.state.clear()
        for key, value in tensors.items():
            name, _, field = key.rpartition("/")
            # Adam keeps its step count on the CPU.
            place = value.device if field == "step" else parameters[name].device
            self.optimizer.state[parameters[name]][field] = value.to(place, copy=True)


def _check_moments(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
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


def _checked_groups(learner: Learner[Any]) -> Mapping[str, list[nn.Parameter]]:
    """The meta-parameters by kind.

    Raises:
        UntrainedParameters: unless each of them belongs to one kind.
    """
    groups = learner.parameter_groups()
    counts = Counter(id(parameter) for parameters in groups.values() for parameter in parameters)
    for name, parameter in learner.named_parameters():
        count = counts[id(parameter)]
        if count > 1 or (count == 0 and parameter.requires_grad):
            where = f"stands {count} times in" if count else "is missing from"
            raise UntrainedParameters(
                f"the parameter {name} {where} parameter_groups() of {type(learner).__name__}: each belongs to one "
                "group, unless requires_grad is False"
            )
    return groups
