"""The paper's tables and figures, made anew: ``flp reproduce``.

Source: Lindsey & Litwin-Kumar (2020), "Learning to learn with feedback and local plasticity". The results are in
docs/reproduction.md.
"""
