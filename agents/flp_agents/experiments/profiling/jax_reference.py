"""The same outer step in JAX: ``lax.scan`` over the inner steps, differentiated by JAX, compiled by XLA.

As a JAX user would write it who knows that the trunk may leave the loop. Needs ``pip install jax``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flp_agents.learners.flp import FLP
from flp_agents.learners.gradient_based import GradientBased
from flp_agents.learners.learner import Learner
from flp_agents.learners.plasticity.oja import Oja
from flp_base.errors import FLPError
from flp_envs.episode import Episode


@dataclass(frozen=True)
class _Update:
    """How a learner learns.

    Attributes:
        step: from prepared meta-parameters, fast weights, activity, input and target to new fast weights.
        prepare: what of the meta-parameters can be done once, outside the loop.
        moves_biases: whether biases are fast weights too.
    """

    step: Callable[[dict[str, Any], dict[str, Any], list[Any], Any, Any], dict[str, Any]]
    prepare: Callable[[dict[str, Any]], dict[str, Any]]
    moves_biases: bool


def jax_peer(learner: Learner[Any]) -> Callable[[Episode], tuple[float, dict[str, Any]]]:
    """A function from episodes to mean query loss and its gradient by meta-parameter.

    Raises:
        FLPError: for a learner that this peer does not know.
    """
    if isinstance(learner, FLP) and isinstance(learner.rule, Oja) and not learner.feedback.hidden_layers:
        update = _flp_step(learner)
    elif isinstance(learner, GradientBased) and learner.order == "second":
        update = _descent_step(learner)
    else:
        raise FLPError("the JAX peer knows Oja's rule with feedback of one layer, and second-order gradient descent")
    layers = learner.layers
    parameters = {name: jnp.asarray(p.detach().cpu().numpy()) for name, p in learner.named_parameters()}
    scale = jnp.asarray(layers.input_scale.cpu().numpy())
    trunk, last = layers.trunk_layers, layers.network.layers - 1

    def forward(tail: dict[str, Any], x: Any) -> list[Any]:
        activity = [x]
        for i, (w, b) in enumerate(zip(tail["weights"], tail["biases"], strict=True)):
            value = activity[-1] @ w.T + b
            activity.append(value if trunk + i == last else jax.nn.relu(value))
        return activity

    def query_loss(p: dict[str, Any], support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        def through_trunk(x: Any) -> Any:
            for i in range(trunk):
                x = jax.nn.relu(x @ p[f"layers.weights.{i}"].T + p[f"layers.biases.{i}"])
            return x

        plastic = range(trunk, last + 1)
        tail = {kind: [p[f"layers.{kind}.{i}"] for i in plastic] for kind in ("weights", "biases")}
        support = through_trunk(support_x * scale)

        fixed = {} if update.moves_biases else {"biases": tail.pop("biases")}
        prepared = update.prepare(p)

        def inner_step(fast: dict[str, Any], pair: tuple[Any, Any]) -> tuple[dict[str, Any], None]:
            x, y = pair
            return update.step(prepared, fast, forward({**fixed, **fast}, x), x, y), None

        tail, _ = jax.lax.scan(inner_step, tail, (support, support_y))
        tail = {**fixed, **tail}
        return jnp.mean((forward(tail, through_trunk(query_x * scale))[-1] - query_y) ** 2)

    def mean_loss(p: dict[str, Any], *episode: Any) -> Any:
        if episode[0].shape[0] == 1:  # batched products of one are slower in XLA than plain ones
            return query_loss(p, *(array[0] for array in episode))
        return jnp.mean(jax.vmap(query_loss, in_axes=(None, 0, 0, 0, 0))(p, *episode))

    compiled = jax.jit(jax.value_and_grad(mean_loss))

    def run(episode: Episode) -> tuple[float, dict[str, Any]]:
        arrays = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
        loss, grads = compiled(parameters, *(np.asarray(a) for a in arrays))
        grads = {name: np.asarray(grad) for name, grad in grads.items()}  # waits until they are there
        return float(loss), grads

    return run


def _flp_step(learner: FLP) -> _Update:
    feedback = learner.feedback
    units = learner.plastic_chain(learner.init(1))[0].coefficient_units

    def step(p: dict[str, Any], tail: dict[str, Any], activity: list[Any], x: Any, y: Any) -> dict[str, Any]:
        signal = y - activity[-1] if feedback.signal == "error" else y
        posts = []
        for i, value in enumerate(activity[1:]):
            fed = signal @ p[f"pathways.{i}.weights.0"].T + p[f"pathways.{i}.biases.0"]
            fed = jax.nn.relu(fed) if feedback.rectified else fed
            clamped = feedback.output == "clamped" and i == len(units) - 1
            strength = p[f"strengths.{i}"]
            posts.append(y if clamped else (1 - strength) * value + strength * fed)
        pres = [x, *(posts if learner.presynaptic == "after" else activity[1:])[:-1]]
        weights = [
            w + p[f"coefficients.{i}"] * (post.T @ pre - (post**2).sum(0)[:, None] * w)
            for i, (w, pre, post) in enumerate(zip(tail["weights"], pres, posts, strict=True))
        ]
        return {"weights": weights}

    def prepare(p: dict[str, Any]) -> dict[str, Any]:
        return {**p, **{f"coefficients.{i}": unit * p[f"coefficients.{i}"] for i, unit in enumerate(units)}}

    return _Update(step, prepare, moves_biases=False)


def _descent_step(learner: GradientBased) -> _Update:
    unit = learner.rate_unit

    def prepare(p: dict[str, Any]) -> dict[str, Any]:
        return {name: value * unit if "_rates" in name else value for name, value in p.items()}

    def step(p: dict[str, Any], tail: dict[str, Any], activity: list[Any], x: Any, y: Any) -> dict[str, Any]:
        def inner_loss(tail: dict[str, Any]) -> Any:
            value = x
            last = len(tail["weights"]) - 1
            for i, (w, b) in enumerate(zip(tail["weights"], tail["biases"], strict=True)):
                value = value @ w.T + b
                value = value if i == last else jax.nn.relu(value)
            return jnp.mean((value - y) ** 2)

        grads = jax.grad(inner_loss)(tail)
        return {
            kind: [
                value - p[f"{rate}.{i}"] * grad
                for i, (value, grad) in enumerate(zip(tail[kind], grads[kind], strict=True))
            ]
            for kind, rate in (("weights", "weight_rates"), ("biases", "bias_rates"))
        }

    return _Update(step, prepare, moves_biases=True)
