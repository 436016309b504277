"""The catalogue of the graph: what Dagster loads, asset by asset."""
