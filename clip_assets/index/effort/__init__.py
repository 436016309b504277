"""How much a search does for a recall, measured on a pool's own queries."""
