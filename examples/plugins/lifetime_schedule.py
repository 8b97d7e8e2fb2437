"""A lifetime schedule of your own: short and long lifetimes in turn.

flp train --plugin examples/plugins/lifetime_schedule.py --lifetimes in-turn --short 4 --output runs/in-turn
"""

from dataclasses import dataclass

from flp_agents import Stage, option, register_lifetime_schedule


@register_lifetime_schedule("in-turn")
@dataclass(frozen=True)
class InTurn:
    """Every second outer step runs through lifetimes of so few inner steps for each function; sine waves only."""

    short: int = option(8, "inner steps for each function in the short ones", least=1)

    def stage(self, step, seed):
        return Stage({"steps_per_function": self.short}) if step % 2 else Stage()

    def extremes(self):
        return [Stage()]
