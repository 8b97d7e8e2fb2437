"""The outer loop: moves the meta-parameters so that lifetimes end well."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.estimators.backpropagation import Backpropagation
from flp_agents.lifetime.estimators.estimator import Estimate, Estimator, UnsupportedEstimator, check_estimator
from flp_agents.lifetime.in_progress import LifetimesInProgress
from flp_agents.lifetime.outer_objectives import OuterObjective, QueryLoss, check_outer_objective
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.lifetime.strategies.strategy import MetaGradient
from flp_agents.support.memory import explaining_out_of_memory
from flp_agents.support.processes import Processes
from flp_agents.training.adam_state import check_moments, moments_of, take_moments
from flp_agents.training.carried_state import carried_tensors, parted, resumed
from flp_agents.training.cuda_graph import GraphedGradient
from flp_agents.training.outer_step import MetaTrainingDiverged, OuterStep
from flp_agents.training.prefetch import Prefetch
from flp_agents.training.rates import checked_rates
from flp_agents.training.saved_trainers import SavedTrainer
from flp_agents.training.schedules import SCHEDULES, rate_factor
from flp_agents.training.sines_on_device import SineOnDevice
from flp_agents.training.trainer_state import InvalidState, trainer_progress
from flp_base.errors import check_at_least, check_choice, check_number, check_seed
from flp_base.renamed import Renamed, renamed_parameters, warn_renamed
from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env


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
        estimator: how the gradient of the outer loss is found.
        outer_objective: what the outer loss is: of the query, of the predictions along the way, or of both.
        processes: with whom the meta-batch is shared; all must be given the same of everything else.
        device_data: draw lifetimes on the learner's device, see :mod:`flp_agents.training.sines_on_device`; sine waves
            only.
        prefetch: draw the next lifetimes in a thread meanwhile; until :meth:`pause` nothing else may draw from ``env``.
        cuda_graph: record loss and gradient as a CUDA graph; needs a GPU, and an initial state that is not drawn.
        seed: of the stream of lifetimes.
        patience: outer steps in a row that may be skipped before the run stops.
        meta_gradient: deprecated: ``estimator=Backpropagation(meta_gradient)``.

    Raises:
        UntrainedParameters: for a kind of meta-parameter without a rate, or a parameter that belongs to no kind, or to
            two.
        InvalidChoice: for a rate of a kind of meta-parameter that the learner has not, or an unknown schedule.
        InvalidSize: for sizes out of range.
        UnsupportedObjective: if ``outer_objective`` is none.
        UnsupportedEstimator: if ``estimator`` is none, or one of windows with ``device_data`` or ``cuda_graph``.
    """

    live_in: Any = Renamed("draw_from")

    @renamed_parameters(draw_ahead="prefetch")
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
        estimator: Estimator = Backpropagation(),
        outer_objective: OuterObjective = QueryLoss(),
        processes: Processes = Processes(),
        device_data: bool = False,
        prefetch: bool = False,
        cuda_graph: bool = False,
        seed: int = 0,
        patience: int = 20,
        meta_gradient: MetaGradient | None = None,
    ) -> None:
        if meta_gradient is not None:
            estimator = Backpropagation(meta_gradient)
            warn_renamed("MetaTrainer(meta_gradient=...)", f"MetaTrainer(estimator={estimator})", stacklevel=3)
        self.learner, self.estimator = learner, check_estimator(estimator)
        if estimator.window is not None and (device_data or cuda_graph):
            refused = "device_data" if device_data else "cuda_graph"
            raise UnsupportedEstimator(
                f"{estimator} takes lifetimes window by window, and {refused} takes whole ones: use one of the two"
            )
        self.outer_objective = check_outer_objective(outer_objective)
        self.processes, self._prefetch = processes, prefetch
        self._prefetched: Prefetch | None = None
        # Of which some windows are done, and others are not.
        self._in_progress: LifetimesInProgress | None = None
        self.draw_from(env, meta_batch)
        self.outer_steps = check_at_least("outer_steps", outer_steps, 1)
        self.warm_up = check_at_least("warm_up", warm_up, 0)
        self.restart_adam_every = check_at_least("restart_adam_every", restart_adam_every, 0)
        self.patience = check_at_least("patience", patience, 1)
        self.schedule = check_choice("schedule", schedule, SCHEDULES)
        self.gradient_clip = check_number("gradient_clip", gradient_clip, least=0)
        self.rates = checked_rates(learner, rates)
        self.optimizer = torch.optim.Adam(
            [
                {"params": parameters, "lr": self.rates[name], "name": name}
                for name, parameters in learner.parameter_groups().items()
                if self.rates[name] > 0
            ]
        )
        self.device_data, self.seed = device_data, check_seed(seed)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.cuda_graph = cuda_graph
        self._graphed = GraphedGradient(self._loss_of, list(learner.parameters())) if cuda_graph else None
        self.step_count = 0
        self.seconds = 0.0
        # Tells it from others that begin alike, and where it was saved.
        self.run = secrets.token_hex(8)
        self.places = {}
        self.skipped_total = 0
        self._skipped_in_a_row = 0
        seed_env(env, seed)

    def draw_from(self, env: gym.Env[Any, Any], meta_batch: int) -> None:
        """From now on draws ``meta_batch`` lifetimes from ``env`` for each outer step.

        Raises:
            InvalidSize: if the processes cannot share them.
            IncompatibleSpaces: if its inputs mean something else than those that the learner was made for.
        """
        self.learner.check_inputs(env)
        self.pause()
        self._in_progress = None
        self.env, self.meta_batch = env, check_at_least("meta_batch", meta_batch, 1)
        self._share = self.processes.share(meta_batch)
        # Of the run on disk that it goes on with, if it does.
        self.plan = None

    def pause(self) -> None:
        """Gives the env back: what was prefetched is forgotten, and will be drawn again."""
        if self._prefetched is not None:
            self._prefetched.stop()
            self._prefetched = None

    def step(self) -> OuterStep:
        """Draws ``meta_batch`` lifetimes, runs through them and moves the meta-parameters once.

        With an estimator of windows it runs through the next window of those that were drawn, until they are over.

        Raises:
            MetaTrainingDiverged: when ``patience`` outer steps in a row were not finite.
            UnsupportedObjective: if the outer loss depends on none of the meta-parameters.
        """
        if self._in_progress is not None:
            return self._step(self._in_progress)
        drawn_from = None if self.estimator.window is None else self._random_state()
        result = self.step_on(self._draw())
        if self._in_progress is not None:
            self._in_progress.drawn_from = drawn_from
        return result

    def step_on(self, episode: Episode | EpisodeTensors) -> OuterStep:
        """The same on given episodes. With an estimator of windows, :meth:`step` goes on with them, unless it is a
        resumed trainer: they are not saved."""
        lifetimes = LifetimesInProgress(episode, self.estimator.window)
        if self.estimator.window is not None:
            self.estimator.check(self.learner, lifetimes.steps)
        return self._step(lifetimes)

    def _step(self, lifetimes: LifetimesInProgress) -> OuterStep:
        """Section 4.1 of the paper: a learning episode, performance on its test input, its gradient, a step of Adam."""
        began = time.monotonic()
        self.learner.train()
        if self.restart_adam_every and self.step_count % self.restart_adam_every == 0:
            self.optimizer.state.clear()
        estimate = self._differentiate(lifetimes)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.gradient_clip or math.inf)
        finite = bool(torch.isfinite(estimate.loss)) and bool(torch.isfinite(norm))
        if finite:
            factor = rate_factor(self.schedule, self.step_count, outer_steps=self.outer_steps, warm_up=self.warm_up)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[group["name"]] * factor
            self.optimizer.step()
        # A state that is not finite stays so: new lifetimes begin.
        self._in_progress = lifetimes if finite and lifetimes.carry(estimate.state) else None
        self.step_count += 1
        self.seconds += time.monotonic() - began
        self.skipped_total += not finite
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self.patience:
            raise MetaTrainingDiverged(
                f"the outer loss or its gradient was not finite in {self._skipped_in_a_row} outer steps in a row, "
                f"the last of them step {self.step_count}: lower the initial plasticity coefficient or inner learning "
                "rate, or the outer learning rates"
            )
        return OuterStep(self.step_count, float(estimate.loss), float(norm), not finite, self.skipped_total)

    def _draw(self) -> Episode | EpisodeTensors:
        """The next lifetimes."""
        if self.device_data:
            sampler = SineOnDevice.of(self.env, self._parameters[0].device)
            return sampler.draw(self.seed, self.step_count, self.meta_batch)
        if not self._prefetch:
            return draw_episodes(self.env, self.meta_batch)
        if self._prefetched is None:
            self._prefetched = Prefetch(self.env, self.meta_batch)
        return self._prefetched.take()

    def _random_state(self) -> Any:
        """The env's, as if nothing were prefetched."""
        prefetched = self._prefetched
        return prefetched.random_state() if prefetched else self.env.unwrapped.np_random.bit_generator.state

    def _differentiate(self, lifetimes: LifetimesInProgress) -> Estimate:
        """The mean outer loss, and its gradient in the parameters' ``grad``, over the whole meta-batch."""
        tensors = lifetimes.tensors(self.learner)
        with explaining_out_of_memory(self.estimator):
            if self._graphed is not None:
                estimate = Estimate(self._graphed(tensors))
            else:
                self.learner.zero_grad(set_to_none=True)
                estimate = self._one_share(tensors, lifetimes.state)
        # A window may leave some without a gradient, which Adam does not move then.
        self.processes.average_gradients(estimate.loss, self._parameters, fill=self.estimator.window is None)
        return estimate

    def _one_share(self, episode: EpisodeTensors, carried: Any = None) -> Estimate:
        """The same over this process's lifetimes."""
        state = self.estimator.init(self.learner, len(episode.support_x)) if carried is None else carried
        if self.processes.world > 1:
            episode = episode.part(self._share)
            if carried is None:
                state = pytree.tree_map(lambda t: t[self._share], state)
        return self.estimator.differentiate(self.learner, episode, state, self.outer_objective)

    def _loss_of(self, episode: EpisodeTensors) -> Tensor:
        return self._one_share(episode).loss

    def progress(self) -> dict[str, Any]:
        """All but tensors that continuing needs, fit for JSON."""
        lifetimes = self._kept()
        return {
            "step_count": self.step_count,
            "skipped_total": self.skipped_total,
            "skipped_in_a_row": self._skipped_in_a_row,
            "patience": self.patience,
            "random_state": lifetimes.drawn_from if lifetimes else self._random_state(),
            **({"inner_steps_done": lifetimes.position} if lifetimes else {}),
        }

    def _kept(self) -> LifetimesInProgress | None:
        """Lifetimes in progress that are saved: not those that were given, or of which other processes hold a share."""
        lifetimes = self._in_progress
        return lifetimes if lifetimes and lifetimes.drawn_from and self.processes.world == 1 else None

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Adam's, named after the meta-parameters they belong to; and the state of lifetimes in progress."""
        return {**moments_of(self.optimizer, self.learner), **carried_tensors(self._kept())}

    def restore(self, progress: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Continues where :meth:`progress` and :meth:`optimizer_tensors` were taken, to the bit.

        The learner's meta-parameters must have been restored already.

        Raises:
            InvalidState: if they are not of a trainer like this one.
        """
        known = trainer_progress(progress)
        parameters = {name: p for name, p in self.learner.named_parameters() if p in set(self._parameters)}
        carried, moments = parted(tensors)
        check_moments(moments, parameters)
        self.pause()
        try:
            self.env.unwrapped.np_random.bit_generator.state = known["random_state"]
        except Exception:  # whatever NumPy says of a state that is none
            raise InvalidState("progress.random_state is not the state of the environment's random numbers") from None
        self.step_count, self.skipped_total = known["step_count"], known["skipped_total"]
        self._skipped_in_a_row, self.patience = known["skipped_in_a_row"], known.get("patience", self.patience)
        take_moments(self.optimizer, moments, parameters)
        inner_steps = known.get("inner_steps_done", 0)
        self._in_progress = resumed(self.learner, self.env, self.meta_batch, self.estimator, inner_steps, carried)
