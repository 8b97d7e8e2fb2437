"""Metrics of single lifetimes, as the benchmark records and the report shows them.

``metric`` has their registry, which finds every file of this package.
Imports ``evaluation.metrics``, whose formulas they are, and packages below it.
"""
