"""The outer loop: moves the meta-parameters so that lifetimes end well."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.estimators.backpropagation import Backpropagation
from flp_agents.lifetime.estimators.estimator import Estimate, Estimator, check_estimator
from flp_agents.lifetime.in_progress import LifetimesInProgress
from flp_agents.lifetime.outer_objectives.outer_objective import OuterObjective, check_outer_objective
from flp_agents.lifetime.outer_objectives.query_loss import QueryLoss
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.lifetime.strategies.strategy import MetaGradient
from flp_agents.support.memory import explaining_out_of_memory
from flp_agents.support.processes import Processes
from flp_agents.training.adam import Adam, optimizer_of
from flp_agents.training.adam_state import check_moments, moments_of, take_moments
from flp_agents.training.carried_state import carried_tensors, parted, resumed
from flp_agents.training.cuda_graph import GraphedGradient
from flp_agents.training.lifetime_schedules.cheaper_first import FullLifetimes
from flp_agents.training.lifetime_schedules.lifetime_schedule import LifetimeSchedule, Stage
from flp_agents.training.lifetime_source import LifetimeSource
from flp_agents.training.outer_step import OuterStep, diverged
from flp_agents.training.saved_trainers import SavedTrainer
from flp_agents.training.sines_on_device import SineOnDevice
from flp_agents.training.trainer_state import InvalidState, trainer_progress
from flp_base.errors import check_at_least, check_seed
from flp_base.renamed import Renamed, renamed_parameters, warn_renamed
from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode


class MetaTrainer(SavedTrainer, ShowsOptions):
    """Moves the meta-parameters, outer step by outer step.

    Args:
        learner: whose meta-parameters are trained, in place.
        env: draws the lifetimes; any env that speaks the episode protocol, wrapped or not.
        optimizer: how the meta-parameters are moved.
        rates: ``optimizer=Adam(rates)`` in short: an outer learning rate for every one of
            ``learner.parameter_groups()``.
        meta_batch: lifetimes for each outer step.
        estimator: how the gradient of the outer loss is found.
        outer_objective: what the outer loss is: of the query, of the predictions along the way, or of both.
        lifetimes: which lifetimes each outer step runs through; by default those of ``env`` as it is.
        processes: with whom the meta-batch is shared; all must be given the same of everything else.
        device_data: draw lifetimes on the learner's device, see :mod:`flp_agents.training.sines_on_device`; sine waves
            only.
        prefetch: draw the next lifetimes in a thread meanwhile; until :meth:`pause` nothing else may draw from ``env``.
        cuda_graph: record loss and gradient as a CUDA graph; needs a GPU, and an initial state that is not drawn.
        seed: of the stream of lifetimes.
        patience: outer steps in a row that may be skipped before the run stops.
        meta_gradient: deprecated: ``estimator=Backpropagation(meta_gradient)``.
        of_optimizer: deprecated: ``gradient_clip`` and others of :class:`~flp_agents.Adam`.

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
        optimizer: Adam | None = None,
        rates: Mapping[str, float] | None = None,
        meta_batch: int = 1,
        estimator: Estimator = Backpropagation(),
        outer_objective: OuterObjective = QueryLoss(),
        lifetimes: LifetimeSchedule = FullLifetimes(),
        processes: Processes = Processes(),
        device_data: bool = False,
        prefetch: bool = False,
        cuda_graph: bool = False,
        seed: int = 0,
        patience: int = 20,
        meta_gradient: MetaGradient | None = None,
        **of_optimizer: Any,
    ) -> None:
        if meta_gradient is not None:
            estimator = Backpropagation(meta_gradient)
            warn_renamed("MetaTrainer(meta_gradient=...)", f"MetaTrainer(estimator={estimator})", stacklevel=3)
        self.learner = learner
        self.estimator = check_estimator(estimator, device_data=device_data, cuda_graph=cuda_graph)
        self.outer_objective = check_outer_objective(outer_objective)
        self.processes, self._prefetch = processes, prefetch
        # Of which some windows are done, and others are not.
        self._in_progress: LifetimesInProgress | None = None
        self.device_data, self.seed = device_data, check_seed(seed)
        self.draw_from(env, meta_batch, lifetimes=lifetimes)
        self.patience = check_at_least("patience", patience, 1)
        self.optimizer = optimizer_of(optimizer, rates, of_optimizer)
        self.adam = self.optimizer.on(learner)
        self.rates, self._parameters = self.adam.rates, self.adam.parameters
        self.cuda_graph = cuda_graph
        self._graphed = GraphedGradient(self._loss_of, list(learner.parameters())) if cuda_graph else None
        self.step_count = 0
        self.seconds = 0.0
        # Tells it from others that begin alike, and where it was saved.
        self.run = secrets.token_hex(8)
        self.places = {}
        self.skipped_total = 0
        self._skipped_in_a_row = 0
        self._source.seed()

    def draw_from(
        self, env: gym.Env[Any, Any], meta_batch: int, *, lifetimes: LifetimeSchedule = FullLifetimes()
    ) -> None:
        """From now on draws ``meta_batch`` lifetimes from ``env`` for each outer step.

        Raises:
            InvalidSize: if the processes cannot share them.
            IncompatibleSpaces: if its inputs mean something else than those that the learner was made for.
        """
        self.learner.check_inputs(env)
        self.pause()
        self._in_progress = None
        self.lifetimes, self.meta_batch = lifetimes, check_at_least("meta_batch", meta_batch, 1)
        self._source = LifetimeSource(env, meta_batch, lifetimes, self.seed, prefetch=self._prefetch)
        for stage in lifetimes.extremes():
            self.processes.share(self._source.count_of(stage))
        # The stage is that of the lifetimes that the learner is set to.
        self.env, self.full_env, self._stage = env, env, Stage()
        # Of the run on disk that it continues, if it does.
        self.plan = None

    def pause(self) -> None:
        """Gives the env back: what was prefetched is forgotten, and will be drawn again."""
        if hasattr(self, "_source"):
            self._source.stop()

    def step(self) -> OuterStep:
        """Draws ``meta_batch`` lifetimes, runs through them and moves the meta-parameters once.

        With an estimator of windows it runs through the next window of those that were drawn, until they are over.

        Raises:
            MetaTrainingDiverged: when ``patience`` outer steps in a row were not finite.
            UnsupportedObjective: if the outer loss depends on none of the meta-parameters.
        """
        if self._in_progress is not None:
            return self._step(self._in_progress)
        result = self.step_on(self._draw())
        if self._in_progress is not None:
            self._in_progress.drawn_from = self._source.drawn_from
        return result

    def step_on(self, episode: Episode | EpisodeTensors) -> OuterStep:
        """The same on given episodes. With an estimator of windows, :meth:`step` continues them; a resumed trainer does
        not, as they are not saved."""
        lifetimes = LifetimesInProgress(episode, self.estimator.window)
        if self.estimator.window is not None:
            self.estimator.check(self.learner, lifetimes.steps)
        return self._step(lifetimes)

    def _step(self, lifetimes: LifetimesInProgress) -> OuterStep:
        """Section 4.1 of the paper: a learning episode, performance on its test input, its gradient, a step of Adam."""
        began = time.monotonic()
        self.learner.train()
        self.adam.restart(self.step_count)
        estimate = self._differentiate(lifetimes)
        norm = self.adam.clip()
        finite = bool(torch.isfinite(estimate.loss)) and bool(torch.isfinite(norm))
        if finite:
            self.adam.move(self.step_count)
        # A state that is not finite stays so: new lifetimes begin.
        self._in_progress = lifetimes if finite and lifetimes.carry(estimate.state) else None
        self.step_count += 1
        self.seconds += time.monotonic() - began
        self.skipped_total += not finite
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self.patience:
            raise diverged(self._skipped_in_a_row, self.step_count)
        return OuterStep(self.step_count, float(estimate.loss), float(norm), not finite, self.skipped_total)

    def _draw(self) -> Episode | EpisodeTensors:
        """The next lifetimes, which the learner is set to."""
        if not self.device_data:
            episode = self._source.take(self.step_count)
            self._enter(self._source.stage)
            return episode
        stage = self._source.enter(self.step_count)
        self._enter(stage)
        sampler = SineOnDevice.of(self.env, self._parameters[0].device)
        return sampler.draw(self.seed, self.step_count, self._source.count_of(stage))

    def _enter(self, stage: Stage) -> None:
        """Sets the learner to the lifetimes of a stage."""
        if stage != self._stage:
            self._stage, self.env = stage, self._source.env_of(stage)
            self.learner.scale_updates(self._source.update_scale_of(stage))
            self.learner.set_task(self.env)

    def set_to_full_lifetimes(self) -> None:
        """Sets the learner to lifetimes of the environment that the trainer was made with."""
        self._enter(Stage())

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
            share = self.processes.share(len(episode.support_x))
            episode = episode.part(share)
            if carried is None:
                state = pytree.tree_map(lambda t: t[share], state)
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
            "random_state": lifetimes.drawn_from if lifetimes else self._source.random_state(),
            "drawn_at": self._source.drawn_at,
            **({"inner_steps_done": lifetimes.position} if lifetimes else {}),
        }

    def _kept(self) -> LifetimesInProgress | None:
        """Lifetimes in progress that are saved: not those that were given, or of which other processes hold a share."""
        lifetimes = self._in_progress
        return lifetimes if lifetimes and lifetimes.drawn_from and self.processes.world == 1 else None

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Adam's, named after the meta-parameters they belong to; and the state of lifetimes in progress."""
        return {**moments_of(self.adam.moments, self.learner), **carried_tensors(self._kept())}

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
        inner_steps = known.get("inner_steps_done", 0)
        # Checkpoints of earlier versions do not say when the last lifetimes were drawn.
        outer_steps = inner_steps // (self.estimator.window or 1) if inner_steps else 1
        drawn_at = known.get("drawn_at", max(0, known["step_count"] - outer_steps))
        try:
            self._source.set_random_state(known["random_state"], drawn_at)
        except Exception:  # whatever NumPy says of a state that is none
            raise InvalidState("progress.random_state is not the state of the environment's random numbers") from None
        self._enter(self._source.stage)
        self.step_count, self.skipped_total = known["step_count"], known["skipped_total"]
        self._skipped_in_a_row, self.patience = known["skipped_in_a_row"], known.get("patience", self.patience)
        take_moments(self.adam.moments, moments, parameters)
        count = self._source.count_of(self._source.stage)
        self._in_progress = resumed(self.learner, self.env, count, self.estimator, inner_steps, carried)
