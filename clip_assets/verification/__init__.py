"""Whether a pool holds what its manifests say, and making again what it does not."""
