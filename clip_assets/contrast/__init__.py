"""Subsets of a pool side by side, for people who judge a filter before they train."""
