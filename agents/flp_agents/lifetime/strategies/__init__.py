"""Memory strategies, one file each: what is kept of a lifetime decides what differentiating it costs.

``strategy`` has the protocol, a base class and the registry, which finds every file of this package.
Imports ``lifetime`` modules, ``learners`` and packages below it.
"""
