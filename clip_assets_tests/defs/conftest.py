"""A pool with three planned partitions of ten pairs, and an instance of its own."""

from clip_assets_tests.instances import instance, resource

__all__ = ["instance", "resource"]
