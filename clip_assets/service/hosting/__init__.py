"""Indices that are hosted: of pools, folders and published data sets, as they change."""
