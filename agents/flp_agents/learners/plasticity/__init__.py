"""Local plasticity rules, one file each: a synapse changes by what its two ends do, and by nothing else.

``rule`` has the protocol and the registry, which finds every file of this package.
Imports ``support`` and ``flp_base``.
"""
