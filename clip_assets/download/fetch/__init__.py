"""Urls to bytes, many at once: polite, safe, and every url ends."""
