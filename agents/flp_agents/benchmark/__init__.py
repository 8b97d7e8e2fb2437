"""``flp benchmark``: learners x environments x seeds, and what is kept of it."""
