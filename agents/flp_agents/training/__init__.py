"""Meta-training: the outer loop, its presets, and its state on disk.

``meta_trainer`` has the loop, ``run`` a run in a folder, ``checkpoint`` and ``bundled`` what is saved.
Imports ``evaluation`` and packages below it.
"""
