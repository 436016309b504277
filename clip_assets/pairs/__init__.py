"""Source files of any shape to canonical (url, caption) rows."""
