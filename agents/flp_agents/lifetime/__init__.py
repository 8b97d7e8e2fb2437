"""One lifetime: the inner loop, its recording, and how it is differentiated.

``running`` has the loop, ``recording`` what is measured along the way, ``meta_gradient`` the strategies.
Imports ``learners`` and packages below it.
"""
