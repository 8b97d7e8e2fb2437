"""Outer objectives: what is asked of a lifetime, a number that meta-training makes small.

One file for each; ``outer_objective`` says what one is and has their registry, which finds every file of this package.
It imports what `lifetime` may.
"""
