"""Models that turn images and words into vectors, for every stage and command that needs one.

What a model is stands in ``encoder``, which model a store belongs to in ``identity``, what becomes
of strangers' files in ``images``; ``replicas`` makes one model of several devices. None of these
needs torch: models are loaded by ``openclip``. Tars and partitions are the stages' business.
"""
