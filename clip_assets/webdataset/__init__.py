"""Webdataset tars: written, read, and looked into by offset."""
