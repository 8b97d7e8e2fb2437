"""Learners whose weights change at every step, and what meta-trains and evaluates them.

``__init__.pyi`` beside this file is the table of contents. A name is imported when it is first used, so that
``flp --help`` and programs that need a part of the package do not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
