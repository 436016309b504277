"""Subsets of the pool as files of uids."""
