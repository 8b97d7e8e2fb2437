"""Feedback pathways, one file each: how a target signal reaches a plastic layer without the forward weights.

``pathway`` has their registry, which finds every file of this package.
Imports ``learners.feedback`` and packages below ``learners``.
"""
