"""A file behind a path or url: opened, listed, fetched, told from its successor."""
