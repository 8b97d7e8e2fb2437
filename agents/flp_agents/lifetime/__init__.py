"""One lifetime: the inner loop, its recording, and how it is differentiated.

``running`` has the loop, ``recording`` what is measured along the way, ``strategies`` what is kept to differentiate
it, ``meta_gradient`` how, ``outer_objectives`` what a lifetime is optimised for, ``estimators`` how the outer gradient
is found.
Imports ``learners`` and packages below it.
"""
