"""Urls to images in webdataset shards, politely and safely, with every failure a row."""
