"""Other kinds of learners as a :class:`~flp_agents.Learner`, and a learner as a Gymnasium agent.

Plain NumPy learners, policies of stable-baselines3 and their saved form.
Imports ``lifetime`` and packages below it.
"""
