"""From a finished pool, or any folder of tars, to a training loop.

Which sample comes when is a function of seed and position, and each is read by its byte range.
torch is imported where it is needed, when it is.
"""
