"""What requests took: the access log, metrics of one process and of several, and steps."""
