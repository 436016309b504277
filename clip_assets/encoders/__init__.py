"""Models that turn pixels and words into vectors, and whose vectors a store holds."""
