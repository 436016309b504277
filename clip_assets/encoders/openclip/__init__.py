"""open_clip models as encoders: the one room that imports torch, torchvision and open_clip.

``loading`` and ``folders`` are the ways in, and import the others when a function is called.
"""
