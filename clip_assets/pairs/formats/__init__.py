"""How each source format is read: a module per format, over ``lines`` and ``batches``."""
