"""A small real world to run the asset graph on, and a tiny CLIP that understands it."""
