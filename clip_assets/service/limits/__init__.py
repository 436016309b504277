"""What may be asked, by whom and how often, and how the rest is refused."""
