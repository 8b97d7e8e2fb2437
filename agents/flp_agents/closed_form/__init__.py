"""The plastic tail of a network over a lifetime, with a backward pass derived by hand.

``description`` says which learners it covers; ``torch_engine`` and ``native_engine`` (C++) compute it.
Imports ``support``.
"""
