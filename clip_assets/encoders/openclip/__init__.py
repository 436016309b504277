"""open_clip models as encoders: the one room that knows torch."""
