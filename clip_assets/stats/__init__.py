"""Counts and distributions of the pool."""
