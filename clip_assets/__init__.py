"""A Dagster asset graph for CLIP-scale image-text pools."""
