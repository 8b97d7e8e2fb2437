"""Defaults that more than one module of the command line reads."""

# Of the result that a run of flp train ends with.
TEST_EPISODES = 200
