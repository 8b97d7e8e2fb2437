"""Studies made with the other packages: analysis, reproduction of the paper, profiling, demo, rendering.

Nothing below the command line depends on them.
Imports ``benchmark`` and packages below it.
"""
