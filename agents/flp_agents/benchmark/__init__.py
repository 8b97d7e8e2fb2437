"""The benchmark: learners x environments x seeds, from a plan to a page.

``entries`` resolves names, ``cell`` runs one, ``running`` all of them; ``report`` shows the results.
Imports ``baselines`` and packages below it.
"""
