"""A family of environments of your own: square waves.

flp train --plugin examples/plugins/family.py --env FLPSquare-Continual-v0 --output runs/square
"""

import numpy as np

from flp_envs import Episode, SineTask, register_family


class SquareTask(SineTask):
    """Sine waves of which only the sign is left, times their amplitude."""

    def sample(self, rng, n=1):
        """``n`` episodes; see :meth:`flp_envs.Task.sample`."""
        sines = super().sample(rng, n)

        def square(y):
            size = np.abs(y).max(axis=(1, 2, 3), keepdims=True)
            return np.sign(y).astype(np.float32) * size

        return Episode(
            sines.support_x,
            square(sines.support_y),
            sines.support_task,
            sines.query_x,
            square(sines.query_y),
            sines.query_task,
        )


# Its ids, FLPSquare-IID-v0 and FLPSquare-Continual-v0, take the options of the class.
register_family("FLPSquare")(SquareTask)
