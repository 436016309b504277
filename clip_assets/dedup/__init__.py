"""First row wins, by exact (url, caption), over the whole pool."""
