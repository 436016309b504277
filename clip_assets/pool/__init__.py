"""A pool as one thing, what an asset of it is, and how every stage of it runs."""
