"""Families of environments, one file each: what their ids are, and what their options make.

``family`` has the registry, which finds every file of this package.
Imports ``flp_envs`` modules below ``registration``, ``flp_datasets`` when an environment is made, and ``flp_base``.
"""
