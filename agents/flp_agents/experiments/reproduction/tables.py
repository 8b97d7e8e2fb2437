"""The paper's tables as plans: methods x columns, and the networks that are meta-trained for each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flp_agents.training.plan import Plan, make_plan

# Scales are presets: the size of the network, and how long it is meta-trained.
SCALES = ("paper", "half", "cpu")
# A table of the paper is what meta-test is for.
EVALUATE_ON = "meta-test"


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        title: as the table writes it; the number of plastic layers in brackets.
        name: with which the names of its networks begin.
        learner: its name.
        options: preset fields in which it differs from the learner's own.
    """

    title: str
    name: str
    learner: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """An environment.

    Attributes:
        name: in results.
        title: as the table writes it.
        env: id.
        place: with which the names of its networks go on.
        env_options: keyword arguments of the environment.
        train_on: the split that its networks are meta-trained on: where recipes were chosen on meta-val, meta-train
            and meta-val together.
    """

    name: str
    title: str
    env: str
    place: str
    env_options: Mapping[str, Any] = field(default_factory=dict)
    train_on: str = "meta-train"


@dataclass(frozen=True)
class Network:
    """One network of a table: a method, an environment, a scale and a seed."""

    method: Method
    column: Column
    scale: str
    seed: int

    @property
    def name(self) -> str:
        """Of its checkpoint; the first network's is the bundled one's."""
        return f"{self.method.name}-{self.column.place}" + (f"-seed-{self.seed}" if self.seed else "")

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.method.title}, {self.column.title}, seed {self.seed}"

    @property
    def command(self) -> str:
        """Meta-trains it."""
        words = ["flp", "train", "--env", self.column.env, "--learner", self.method.learner, "--preset", self.scale]
        for name, value in self.method.options.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words += [f"--{flag}" if value else f"--no-{flag}"]
            else:
                words += [f"--{flag}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
        for name, value in self.column.env_options.items():
            words += ["--env-option", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
        words += ["--train-on", self.column.train_on] if self.column.train_on != "meta-train" else []
        return shlex.join([*words, "--seed", str(self.seed), "--evaluate-on", EVALUATE_ON])

    def plan(self) -> Plan:
        """Its meta-training.

        Raises:
            MissingPack: if the environment's data is not on this machine.
        """
        return make_plan(
            self.column.env,
            self.method.learner,
            preset=self.scale,
            seed=self.seed,
            overrides=self.method.options,
            env_options=self.column.env_options,
            command=self.command,
            train_on=self.column.train_on,
            evaluate_on=EVALUATE_ON,
        )


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
        name: of its files.
        title: with the unit of its numbers.
        methods: rows.
        columns: environments.
        networks: meta-trained for each cell, from seeds 0, 1, ...
        episodes: meta-test lifetimes of each network.
    """

    name: str
    title: str
    methods: tuple[Method, ...]
    columns: tuple[Column, ...]
    networks: int
    episodes: int

    def cells(self, scale: str) -> Iterator[Network]:
        """All networks: seed after seed, so that a table that is stopped early has one of each."""
        for seed in range(self.networks):
            for column in self.columns:
                for method in self.methods:
                    yield Network(method, column, scale, seed)


_FIRST_ORDER = {"order": "first"}
_AS_RELEASED = {"order": "first", "redraw_output": True}


def _methods(layers: int, *more: Method) -> tuple[Method, ...]:
    """Rows as the paper orders them; ``more`` stand before the gradient-based ones.

    The paper's text, as we read it, has the gradient-based learner differentiated to second order; the released code
    does it to first order and, for images, draws the output weights anew in each meta-training lifetime. All three
    are meta-trained.
    """
    return (
        Method("Feature Reuse (1)", "feature-reuse-1", "feature-reuse"),
        Method("FLP (2)", "flp-2", "flp"),
        *more,
        Method(f"Gradient-based ({layers})", f"gradient-based-{layers}", "gradient-based"),
        Method(
            f"Gradient-based ({layers}), first order",
            f"gradient-based-first-order-{layers}",
            "gradient-based",
            _FIRST_ORDER,
        ),
        Method(
            f"Gradient-based ({layers}), as released",
            f"gradient-based-as-released-{layers}",
            "gradient-based",
            _AS_RELEASED,
        ),
        Method(f"Original OML ({layers})", f"oml-{layers}", "oml"),
    )


TABLE_1 = Table(
    "table1",
    "Table 1: sine waves, mean squared error",
    _methods(3, Method("FLP (3)", "flp-3", "flp", {"plastic_layers": 3})),
    (
        Column("iid", "i.i.d.", "FLPSine-IID-v0", "sine-iid"),
        Column("continual", "continual", "FLPSine-Continual-v0", "sine-continual"),
    ),
    networks=2,
    episodes=200,
)
TABLE_2 = Table(
    "table2",
    "Table 2: few-shot classification, per cent of wrong answers",
    _methods(2),
    (
        Column("omniglot", "Omniglot", "FLPOmniglot-IID-v0", "omniglot-iid", train_on="meta-trainval"),
        Column(
            "omniglot_continual",
            "Omniglot (continual)",
            "FLPOmniglot-Continual-v0",
            "omniglot-continual",
            train_on="meta-trainval",
        ),
        Column(
            "mini_imagenet",
            "Mini-ImageNet",
            "FLPMiniImageNet-IID-v0",
            "mini-imagenet-iid",
            train_on="meta-trainval",
        ),
    ),
    networks=5,
    episodes=1000,
)
TABLES = {table.name: table for table in (TABLE_1, TABLE_2)}
