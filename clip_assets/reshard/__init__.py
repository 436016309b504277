"""A subset's samples, copied from any tars into new ones by byte range."""
