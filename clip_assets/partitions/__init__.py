"""Listing source files, planning partitions, and the ledger of plans."""
