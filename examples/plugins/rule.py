"""A plasticity rule of your own: the BCM rule.

    flp train --plugin examples/plugins/rule.py --rule bcm --threshold 0.3 --output runs/bcm

Source: Bienenstock, Cooper & Munro (1982), "Theory for the development of neuron selectivity".
"""

from dataclasses import dataclass

from flp_agents import option, register_rule


@register_rule("bcm")
@dataclass(frozen=True)
class BCM:
    """``w += alpha sum_n b (b - threshold) a``: weak postsynaptic activity depresses, strong activity potentiates."""

    threshold: float = option(0.5, "postsynaptic activity that neither depresses nor potentiates", least=0)

    def __call__(self, weight, pre, post, coefficient, unit=1.0):
        return weight + unit * coefficient * ((post * (post - self.threshold)).transpose(1, 2) @ pre)
