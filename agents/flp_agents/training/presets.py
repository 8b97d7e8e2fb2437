"""Presets: everything that ``flp train`` needs besides an environment's and a learner's name."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from flp_agents.learners.descent import ORDERS
from flp_agents.learners.feedback import MOST_HIDDEN_LAYERS, OUTPUTS, SIGNALS
from flp_agents.learners.flp import COEFFICIENT_SCALES, GRANULARITIES, PRESYNAPTIC
from flp_agents.learners.pathways.pathway import PATHWAYS
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.lifetime.estimators.estimator import ESTIMATORS
from flp_agents.lifetime.strategies.strategy import STRATEGIES, takes_steps
from flp_agents.support.precision import PRECISIONS
from flp_agents.training.schedules import SCHEDULES
from flp_base.errors import LARGEST_WHOLE, InvalidSize, check_at_least, check_choice, check_number, in_short
from flp_datasets.sources import parts_of

# No unit of a network, and no length, is above this; sizes whose products torch cannot even count never reach it.
_LARGEST_SIZE = 2**20
# Products of three such numbers still fit float32.
_LARGEST_NUMBER = 1e12


def option(
    default: Any, text: str, *, least: float | None = None, above: float = -math.inf, most: float | None = None
) -> Any:
    """A field with its own help text and, if it is a number or holds numbers, its range.

    Args:
        default: value of the field.
        text: what it is.
        least: the smallest; none: 0 for whole numbers, minus :data:`_LARGEST_NUMBER` for others.
        above: what a number that is not whole must exceed.
        most: the largest; none: :data:`_LARGEST_NUMBER`, or what whole numbers may be at all.
    """
    usual = (-_LARGEST_NUMBER, _LARGEST_NUMBER) if isinstance(default, float) else (0, LARGEST_WHOLE)
    bounds = (usual[0] if least is None else least, above, usual[1] if most is None else most)
    return field(default=default, metadata={"help": text, "bounds": bounds})


# Valid values of the fields that name something; checked whether or not the learner at hand reads the field.
CHOICES: dict[str, Collection[str]] = {
    "rule": RULES,
    "granularity": GRANULARITIES,
    "presynaptic": PRESYNAPTIC,
    "coefficient_scale": COEFFICIENT_SCALES,
    "signal": SIGNALS,
    "feedback_pathway": PATHWAYS,
    "output_feedback": OUTPUTS,
    "order": ORDERS,
    "schedule": SCHEDULES,
    "estimator": ESTIMATORS,
    "meta_gradient": STRATEGIES,
    "precision": (*PRECISIONS, "tf32"),
}


@dataclass(frozen=True)
class Preset:
    """Network, learner and outer loop. A learner reads the fields that concern it and ignores the others."""

    hidden_widths: tuple[int, ...] = option(
        (300, 300, 300, 300, 300, 900, 300, 300), "units of every hidden layer", least=1, most=_LARGEST_SIZE
    )
    scale_inputs: bool = option(False, "divide every input by its largest absolute value in the observation space")
    channels: int = option(256, "images: channels of every convolution", least=1, most=_LARGEST_SIZE)
    padding: int = option(0, "images: zeros around every convolution's input", most=1000)
    ink: bool = option(False, "grey images: black counts as 1 and white as 0, not the other way round")
    output_units: int = option(0, "labels: output units, if more than there are classes", most=_LARGEST_SIZE)
    plastic_layers: int = option(2, "N, the layers with fast weights, counted from the output", least=1)

    rule: str = option("oja", "FLP: plasticity rule, oja, hebb or normalised-oja")
    granularity: str = option("synapse", "FLP: one plasticity coefficient for each synapse, neuron or layer")
    presynaptic: str = option("before", "FLP: presynaptic activity before or after feedback")
    signal: str = option("error", "FLP: what feedback carries, error or target")
    rectified: bool = option(True, "FLP: ReLU at the end of each feedback pathway")
    output_feedback: str = option(
        "mixed", "FLP: the output's activity is mixed with feedback, or clamped to the target"
    )
    feedback_pathway: str = option("direct", "FLP: kind of the feedback pathways")
    feedback_layers: int = option(0, "FLP: hidden layers in each feedback pathway", most=MOST_HIDDEN_LAYERS)
    feedback_width: int = option(64, "FLP: units of those", least=1, most=_LARGEST_SIZE)
    positive_output_feedback: bool = option(False, "FLP: start the output's own feedback weights positive")
    initial_coefficient: float = option(0.0, "FLP: plasticity coefficients at the start, in coefficient units")
    coefficient_unit: float = option(1.0, "FLP: size of a plasticity coefficient of 1", above=0)
    coefficient_scale: str = option("linear", "FLP: coefficients stored as they are, linear, or as logarithms, log")
    initial_strength: float = option(0.5, "FLP: feedback strength at the start")
    hidden_multiplier: float = option(1.0, "FLP: what updates of hidden layers are multiplied by")

    order: str = option("second", "gradient-based: second or first order meta-gradient")
    redraw_output: bool = option(False, "gradient-based: random output weights in every meta-training lifetime")
    initial_rate: float = option(1.0, "gradient-based: inner learning rates at the start, in rate units")
    rate_unit: float = option(1e-3, "gradient-based: size of an inner learning rate of 1", above=0)
    inner_rate: float = option(0.003, "OML: the fixed inner learning rate", least=0)

    outer_steps: int = option(20_000, "outer steps", least=1)
    meta_batch: int = option(1, "lifetimes for each outer step", least=1)
    gradient_clip: float = option(0.0, "largest norm of the meta-gradient; 0: no clipping", least=0)
    schedule: str = option("constant", "of the outer learning rates: constant or cosine")
    warm_up: int = option(0, "outer steps over which the outer learning rates rise from 0")
    restart_adam_every: int = option(0, "outer steps after which Adam forgets its moments; 0: never")
    short_outer_steps: int = option(0, "outer steps on other lifetimes first: shorter ones, or ones of more classes")
    short_steps_per_function: int = option(8, "sine waves: minibatches for each function in those", least=1)
    first_classes: int = option(20, "labels: classes in those", least=2)
    first_meta_batch: int = option(0, "lifetimes for each of those outer steps; 0: as many as later")
    estimator: str = option("backpropagation", "of the outer gradient: backpropagation or windows")
    window: int = option(0, "windows: inner steps of each outer step, the state carried to the next")
    meta_gradient: str = option("full", "full, checkpointed, reversible, truncated or autograd")
    gradient_steps: int = option(0, "inner steps in a segment (0: their square root), or truncated to")
    precision: str = option("float32", "of products: float32; tf32: all, on a GPU; bfloat16: the trunk's")
    device_data: bool = option(False, "draw meta-training lifetimes on the device (sine waves)")
    cuda_graph: bool = option(False, "record loss and gradient as a CUDA graph")
    rate_weights: float = option(1e-4, "outer learning rate of initial weights and biases", least=0)
    rate_feedback: float = option(1e-4, "outer learning rate of feedback weights and biases", least=0)
    rate_coefficients: float = option(1e-8, "outer learning rate of plasticity coefficients", least=0)
    rate_strengths: float = option(1e-4, "outer learning rate of feedback strengths", least=0)
    rate_inner_rates: float = option(0.01, "outer learning rate of inner learning rates", least=0)

    def __post_init__(self) -> None:
        for of in fields(self):
            object.__setattr__(self, of.name, _checked(of, getattr(self, of.name)))
        for name, valid in CHOICES.items():
            check_choice(name, getattr(self, name), valid)
        if self.estimator == "windows" and not self.window:
            raise InvalidSize("the estimator windows needs window, the inner steps of each: expected at least 1, got 0")
        if self.estimator == "backpropagation" and self.window:
            raise InvalidSize(f"window is of the estimator windows: backpropagation has none, got {self.window}")
        if self.gradient_steps and not takes_steps(self.meta_gradient):
            *others, last = filter(takes_steps, STRATEGIES.built_in())
            raise InvalidSize(
                f"gradient_steps are of {', '.join(others)} and {last}: meta_gradient {self.meta_gradient} has none, "
                f"got {self.gradient_steps}"
            )


# Of the outer loop, which is the same for all learners; but for the rates, one for each kind of meta-parameter.
_NAMES = [f.name for f in fields(Preset)]
OUTER_FIELDS = frozenset(name for name in _NAMES[_NAMES.index("outer_steps") :] if not name.startswith("rate_"))


def _checked(of: Field[Any], value: Any) -> Any:
    """A field's value, if it has the type of the field's default and lies in the field's range.

    Raises:
        InvalidSize: otherwise.
    """
    least, above, most = of.metadata["bounds"]
    if isinstance(of.default, float):
        return check_number(of.name, value, least=least, above=above, most=most)
    if isinstance(of.default, bool | str):
        if type(value) is not type(of.default):
            kind = "true or false" if isinstance(of.default, bool) else "text"
            raise InvalidSize(f"{of.name} must be {kind}, got {in_short(value)}")
        return value
    if isinstance(of.default, int):
        return check_at_least(of.name, value, least, most)
    if not isinstance(value, list | tuple):
        raise InvalidSize(f"{of.name} must be a list of whole numbers, got {in_short(value)}")
    return tuple(check_at_least(f"each of {of.name}", item, least, most) for item in value)


# What the paper's text says; what it leaves open is as in its authors' code, corrected.
_PAPER = Preset()
_PAPER_IMAGES = replace(
    _PAPER,
    hidden_widths=(1024,),
    signal="target",
    output_feedback="clamped",
    initial_strength=1.0,
    hidden_multiplier=100.0,
    inner_rate=0.01,
    outer_steps=40_000,
    rate_coefficients=1e-5,
    rate_strengths=0.0,
)

# Half the units and channels, as in the released code's example for images.
_HALF = replace(_PAPER, hidden_widths=tuple(width // 2 for width in _PAPER.hidden_widths))
_HALF_IMAGES = replace(_PAPER_IMAGES, channels=128, hidden_widths=(128,))

# The released code, with its defects: a first-order baseline whose output layer is drawn anew, Adam restarted in the
# sine script. Not reproduced: its --hebb, which holds for the first inner step only, and the query loss after every
# inner step, which costs time and changes nothing.
_PAPER_CODE = replace(_PAPER, order="first", redraw_output=True, restart_adam_every=1000)
_PAPER_CODE_IMAGES = replace(_HALF_IMAGES, order="first", redraw_output=True, output_units=1000)

# A network a ninth the size, for two cores and twenty minutes; see docs/meta-training.md.
_CPU = replace(
    _PAPER,
    hidden_widths=(100, 100, 100, 100, 100, 300, 100, 100),
    scale_inputs=True,
    rectified=False,
    positive_output_feedback=True,
    initial_coefficient=1.0,
    coefficient_unit=2e-6,
    rate_unit=3e-3,
    outer_steps=3500,
    short_outer_steps=3150,
    meta_batch=4,
    gradient_clip=1.0,
    schedule="cosine",
    warm_up=100,
    rate_weights=4e-3,
    rate_feedback=4e-3,
    rate_strengths=4e-3,
    rate_coefficients=0.16,
    rate_inner_rates=0.06,
)
# For images: small ones, and plasticity that is strong from the start; see docs/few-shot.md.
_CPU_IMAGES = replace(
    _PAPER_IMAGES,
    channels=64,
    padding=1,
    ink=True,
    hidden_widths=(128,),
    initial_coefficient=1.0,
    coefficient_unit=0.05,
    hidden_multiplier=1.0,
    rate_unit=0.03,
    outer_steps=5000,
    first_classes=20,
    first_meta_batch=1,
    meta_batch=4,
    gradient_clip=1.0,
    schedule="cosine",
    warm_up=100,
    precision="bfloat16",
    rate_weights=1e-3,
    rate_feedback=1e-3,
    rate_coefficients=0.02,
    rate_inner_rates=0.02,
)

# Every preset, for environments of numbers and for those of images.
PRESETS: dict[str, dict[str, Preset]] = {
    "paper": {"sine": _PAPER, "images": _PAPER_IMAGES},
    "half": {"sine": _HALF, "images": _HALF_IMAGES},
    "paper-code": {"sine": _PAPER_CODE, "images": _PAPER_CODE_IMAGES},
    "cpu": {"sine": _CPU, "images": _CPU_IMAGES},
}

# Environment options that a preset brings, by the beginning of the environment ids that know them.
_PAPER_SIZE = {"FLPOmniglot": {"image_size": 84}, "FLPGlyph": {"image_size": 84}}
_ENV_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": _PAPER_SIZE,
    "half": _PAPER_SIZE,
    "paper-code": {"FLPSine": {"max_amplitude": 5.1}, **_PAPER_SIZE},
}

# And those that it brings only to the splits that are meta-trained on, or only to the others. The released code's query
# overlaps with the support in meta-training, and its "five shots" of Mini-ImageNet are ten in evaluation.
_TRAINING_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "paper-code": {"FLPOmniglot": {"query_from": "all"}, "FLPGlyph": {"query_from": "all"}},
    "cpu": {"FLPOmniglot": {"rotations": True}},
}
_EVALUATION_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {"paper-code": {"FLPMiniImageNet": {"shots": 10}}}

# The number of plastic layers of the paper's tables 1 and 2.
_PLASTIC_LAYERS = {
    "sine": {"flp": 2, "feature-reuse": 1, "gradient-based": 3, "oml": 3},
    "images": {"flp": 2, "feature-reuse": 1, "gradient-based": 2, "oml": 2},
}

_FOR_LEARNER: dict[tuple[str, str, str], dict[str, Any]] = {
    # What the search found; see docs/meta-training.md. First-order gradients know nothing of what a step does to the
    # next: at higher rates OML diverges.
    ("cpu", "sine", "gradient-based"): {"initial_rate": 3.0},
    ("cpu", "sine", "oml"): {"rate_weights": 1e-4},
    ("cpu", "images", "gradient-based"): {"rate_unit": 0.05, "rate_inner_rates": 0.1},
    ("cpu", "images", "oml"): {"inner_rate": 0.03, "outer_steps": 6000, "short_outer_steps": 1500},
}


def _first_order(factor: float) -> dict[str, Any]:
    """Outer rates as ``benchmarks/rate_search.py`` multiplies them, with its inner steps x 1."""
    return {"rate_weights": factor * 2e-3, "rate_inner_rates": factor * 0.03, "initial_rate": 1.0}


def _plastic(factor: float) -> dict[str, Any]:
    """The same for learners with plasticity."""
    rates = dict.fromkeys(("rate_weights", "rate_feedback", "rate_strengths"), factor * 2e-3)
    return {**rates, "rate_coefficients": factor * 0.08}


# What a learner needs in one environment, by preset, environment, learner, and the order and redrawing of its
# meta-gradient; docs/meta-training.md has the search.
_FOR_ENVIRONMENT: dict[tuple[str, str, str, str, bool], dict[str, Any]] = {
    ("cpu", "FLPSine-IID-v0", "feature-reuse", "second", False): _plastic(1.0),
    ("cpu", "FLPSine-Continual-v0", "feature-reuse", "second", False): {"initial_coefficient": 3.0},
    ("cpu", "FLPSine-IID-v0", "gradient-based", "first", False): _first_order(0.015),
    ("cpu", "FLPSine-Continual-v0", "gradient-based", "first", False): _first_order(0.05),
    ("cpu", "FLPSine-IID-v0", "gradient-based", "first", True): _first_order(0.05),
    ("cpu", "FLPSine-Continual-v0", "gradient-based", "first", True): _first_order(0.25),
    ("cpu", "FLPSine-IID-v0", "oml", "second", False): {"rate_weights": 3e-5},
}


def get_preset(
    name: str,
    learner: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    kind: str = "sine",
    env_id: str = "",
) -> Preset:
    """A preset as it is for one learner, with some fields overridden.

    Args:
        name: of the preset.
        learner: its name.
        overrides: fields and their values.
        kind: of the environment, "sine" or "images".
        env_id: its id, where the preset is to be the one that a search found for it.

    Raises:
        InvalidChoice: for an unknown preset or field.
    """
    check_choice("preset", name, PRESETS)
    for key in overrides or {}:
        check_choice("preset field", key, [f.name for f in fields(Preset)])
    particular = {
        "plastic_layers": _PLASTIC_LAYERS[kind].get(learner, 2),
        **_FOR_LEARNER.get((name, kind, learner), {}),
    }
    usual = replace(PRESETS[name][kind], **{**particular, **(overrides or {})})
    searched = _FOR_ENVIRONMENT.get((name, env_id, learner, usual.order, usual.redraw_output), {})
    return replace(usual, **{**searched, **(overrides or {})})


def preset_env_options(name: str, env_id: str) -> dict[str, Any]:
    """Keyword arguments of an environment that belong to a preset, whatever the split."""
    check_choice("preset", name, PRESETS)
    return _of_family(_ENV_OPTIONS.get(name, {}), env_id)


def preset_split_options(name: str, env_id: str, split: str) -> dict[str, Any]:
    """Keyword arguments of an environment that belong to a preset on one split."""
    by_preset = _TRAINING_OPTIONS if "meta-train" in parts_of(split) else _EVALUATION_OPTIONS
    return _of_family(by_preset.get(name, {}), env_id)


def _of_family(options: Mapping[str, dict[str, Any]], env_id: str) -> dict[str, Any]:
    return next((dict(values) for prefix, values in options.items() if env_id.startswith(prefix)), {})
