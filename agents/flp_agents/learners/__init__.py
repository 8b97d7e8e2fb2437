"""Learners whose weights change at every inner step, and their parts.

The learner protocol, the network, plasticity rules, feedback pathways, objectives, and one file for each meta-trained
learner. Imports ``closed_form`` and packages below it.
"""
