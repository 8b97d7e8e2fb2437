"""Learners to compare with, none of them meta-trained here.

One file for each, which cites its source; ``building`` has their registry, which finds every file of this package.
Imports ``training`` and packages below it.
"""
