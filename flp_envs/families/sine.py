"""``FLPSine-*``: the sine waves of section 5 of the paper."""

from __future__ import annotations

from flp_envs.families.family import register_family
from flp_envs.sine import SineTask

register_family("FLPSine", short={"num_functions": 3, "steps_per_function": 4})(SineTask)
