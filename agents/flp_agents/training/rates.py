"""The outer learning rates: one for each kind of meta-parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn

from flp_agents.learners.learner import Learner
from flp_base.errors import FLPError, InvalidSize, check_choice, check_number


class UntrainedParameters(FLPError, ValueError):
    """Meta-parameters for which nobody says how they are trained."""


def checked_rates(learner: Learner[Any], given: Mapping[str, float]) -> dict[str, float]:
    """An outer learning rate for every kind of the learner's meta-parameters.

    Raises:
        UntrainedParameters: for a kind of meta-parameter without a rate, or a parameter that belongs to no kind, or to
            two.
        InvalidChoice: for a rate of a kind of meta-parameter that the learner has not.
        InvalidSize: for a rate that is none, or if all are 0.
    """
    groups = _checked_groups(learner)
    for name in given:
        check_choice("group of meta-parameters", name, groups)
    if missing := [name for name in groups if name not in given]:
        raise UntrainedParameters(
            f"no outer learning rate is given for {', '.join(missing)}: add it to rates, such as "
            f"{{{missing[0]!r}: 1e-3}} (flp train: --rate {missing[0]}=1e-3); 0 freezes"
        )
    rates = {name: check_number(f"the outer learning rate of {name}", given[name], least=0) for name in groups}
    if not any(rates.values()):
        raise InvalidSize(f"expected a learning rate above 0 for at least one of {', '.join(groups)}")
    return rates


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
