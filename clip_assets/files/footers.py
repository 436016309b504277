"""Footers of parquet files: what they cost before anything of them is read."""

from typing import IO

MAX_FOOTER_BYTES = 16 << 20
"""Of a footer; who reads one needs ten times its length, more than once. A table of 1,000 row
groups with 100 columns has about 10 MB."""

_END_BYTES = 8


def footer_bytes(file: IO[bytes]) -> int:
    """Length of a parquet file's footer, as its last bytes say; 0 for what has no such end."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES))
    end = file.read(_END_BYTES)
    file.seek(0)
    return int.from_bytes(end[:4], "little") if end[4:] == b"PAR1" else 0
