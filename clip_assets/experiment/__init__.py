"""Which subset is best: a small CLIP is trained on each, and all are asked the same.

``comparison`` says what is compared, ``training`` trains, ``held_out`` and ``judging`` ask,
``intervals`` says how sure an answer is, ``report`` writes it down; ``at_scale`` leaves training to
open_clip's own trainer. See docs/experiment.md.
"""
