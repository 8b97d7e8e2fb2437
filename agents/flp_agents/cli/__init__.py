"""The ``flp`` command: one file for each group of commands, with nothing but argument handling and printing.

``main`` has the parser and imports a command's file when it runs, so that ``--help`` needs no torch.
Imports every package.
"""
