"""From a text, image, embedding or uid to ranked pairs of the pool."""
