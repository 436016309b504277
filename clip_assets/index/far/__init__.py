"""An index searched where it lies, in a bucket or behind a web server, by byte ranges."""
