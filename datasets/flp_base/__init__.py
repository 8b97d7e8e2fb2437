"""What every package of FLP-Envs stands on: errors, files, file locks, memory limits, readable representations.

It knows nothing of data, environments or learners.
Imports the standard library, NumPy and filelock.
"""
