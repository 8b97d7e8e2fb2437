"""How well a learner does: query scores, metrics, and how sure they are.

``scoring`` evaluates a learner on episodes; ``metrics`` and ``uncertainty`` are plain NumPy.
Imports ``adapters`` and packages below it.
"""
