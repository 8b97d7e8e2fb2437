"""Estimators of the outer gradient, one file each: how it is found what would make lifetimes end better.

``estimator`` has the protocol and the registry, which finds every file of this package.
Imports ``lifetime`` modules, ``learners`` and packages below it.
"""
