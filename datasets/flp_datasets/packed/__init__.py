"""Datasets that are packed once and read from their packs, one file each.

``dataset`` has their registry, which finds every file of this package.
Imports readers of ``flp_datasets``, and ``flp_base``.
"""
