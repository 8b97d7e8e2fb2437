"""What the other packages stand on and what knows nothing of learners.

Memory, processes, numerical precision, copies, schemas of plain values, provenance and progress bars.
Imports ``flp_base``, ``flp_envs`` and nothing of ``flp_agents``.
"""
