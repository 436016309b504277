"""Models that turn images and words into vectors, for every stage and command that needs one.

See ``encoder`` for what a model is, ``identity`` for which one a store belongs to, ``images`` for
strangers' files and ``replicas`` for several devices. None of these needs torch; only ``openclip``
does, which loads models. See ``inference`` for tars and partitions.
"""
