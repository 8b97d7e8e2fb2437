"""The plastic chain: an FLP network's tail, with its meta-gradient in closed form.

``description.py`` has the mathematics, ``torch_engine.py`` the same in torch operations, ``native_engine.py`` in C++
for CPUs, and ``gradient.py`` ties one of them into autograd, keeping as much or as little as a strategy says.
"""
