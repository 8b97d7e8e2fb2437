"""How well a learner does: query scores, metrics, and how sure they are.

``scoring`` evaluates a learner on episodes; ``metrics`` and ``uncertainty`` are plain NumPy.
Imports ``adapters`` and packages below it.
"""

import lazy_loader

# flp_agents.metrics is this package's.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["metrics", "scoring", "uncertainty"])
