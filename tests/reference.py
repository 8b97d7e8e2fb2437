"""Protocol of FLP, written plainly in NumPy: one lifetime, one minibatch at a time, nothing shared with the package.

Every function also takes complex arrays: with an imaginary step of 1e-30 on one meta-parameter, the imaginary part of
the loss is the derivative to machine precision (complex-step differentiation), which no graph is needed for.
"""

import numpy as np


def relu(value):
    return value * (value.real > 0)


def flp_update(weights, biases, parts, x, y, *, rule, signal, rectified, presynaptic, output, hidden_multiplier):
    """The new weights of one inner step. ``parts``: per layer the feedback layers [(B, b), ...], alpha, beta."""
    activity = [x]
    for i, (w, c) in enumerate(zip(weights, biases, strict=True)):
        value = activity[-1] @ w.T + c
        activity.append(value if i == len(weights) - 1 else relu(value))
    sent = y - activity[-1] if signal == "error" else y
    posts = []
    for i, (pathway, _, beta) in enumerate(parts):
        feedback = sent
        for j, (b_weight, b_bias) in enumerate(pathway):
            feedback = feedback @ b_weight.T + b_bias
            if rectified or j < len(pathway) - 1:
                feedback = relu(feedback)
        is_output = i == len(parts) - 1
        posts.append(y if is_output and output == "clamped" else (1 - beta) * activity[i + 1] + beta * feedback)
    new = []
    for i, (w, (_, alpha, _)) in enumerate(zip(weights, parts, strict=True)):
        pre = activity[i] if presynaptic == "before" or i == 0 else posts[i - 1]
        change = np.zeros_like(w) * 0j if np.iscomplexobj(posts[i]) else np.zeros_like(w)
        for n in range(len(x)):
            change = change + np.outer(posts[i][n], pre[n])
            if rule != "hebb":
                change = change - (posts[i][n] ** 2)[:, None] * w
        step = alpha * (hidden_multiplier if i < len(weights) - 1 else 1.0)
        if rule == "normalised-oja":
            magnitude = step * np.where(step.real < 0, -1.0, 1.0)
            step = step / (1 + magnitude * (posts[i] ** 2).sum(0)[:, None])
        new.append(w + step * change)
    return new


def forward(weights, biases, x):
    for i, (w, c) in enumerate(zip(weights, biases, strict=True)):
        x = x @ w.T + c
        if i < len(weights) - 1:
            x = relu(x)
    return x


def squared_error(answers, y):
    return ((answers - y) ** 2).mean()


def cross_entropy(answers, y):
    """Of one-hot targets; the largest answer is taken off first, as its exponential may be too large."""
    moved = answers - answers.real.max(-1, keepdims=True)
    return -((moved - np.log(np.exp(moved).sum(-1, keepdims=True))) * y).sum(-1).mean()


def query_loss(parameters, network_layers, plastic, episode, *, classes=None, **options):
    """The query loss of one lifetime. ``parameters``: name -> array, named as the package's ``named_parameters``.

    ``classes``: targets are labels, and the first output units stand for them; none: targets are numbers.
    """
    weights = [parameters[f"layers.weights.{i}"] for i in range(network_layers)]
    biases = [parameters[f"layers.biases.{i}"] for i in range(network_layers)]
    trunk = network_layers - plastic
    parts = []
    for i in range(plastic):
        pathway = []
        while f"pathways.{i}.weights.{len(pathway)}" in parameters:
            j = len(pathway)
            pathway.append((parameters[f"pathways.{i}.weights.{j}"], parameters[f"pathways.{i}.biases.{j}"]))
        stored = parameters[f"coefficients.{i}"]
        in_units = np.exp(stored) if options.get("coefficient_scale") == "log" else stored
        alpha = in_units * options.get("coefficient_unit", 1.0)
        parts.append((pathway, alpha, parameters[f"strengths.{i}"]))
    step_options = {k: v for k, v in options.items() if not k.startswith("coefficient_")}

    def through_trunk(x):
        for w, c in zip(weights[:trunk], biases[:trunk], strict=True):
            x = relu(x @ w.T + c)
        return x

    def targets(y):
        return y if classes is None else np.eye(len(biases[-1]))[y]

    fast = weights[trunk:]
    for x, y in zip(episode.support_x[0], episode.support_y[0], strict=True):
        fast = flp_update(fast, biases[trunk:], parts, through_trunk(x), targets(y), **step_options)
    total = 0.0
    for x, y in zip(episode.query_x[0], episode.query_y[0], strict=True):
        answers = forward(fast, biases[trunk:], through_trunk(x))
        if classes is None:
            total = total + squared_error(answers, y)
        else:
            total = total + cross_entropy(answers[:, :classes], targets(y)[:, :classes])
    return total / len(episode.query_x[0])
