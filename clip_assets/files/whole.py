"""A file of a person's, outside of any store: replaced whole, or left as it was."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(file: Path) -> Generator[Path]:
    """A path to write to; it becomes the file when the block ends well.

    Its folder is made if there is none. A file that is there keeps its mode.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".clip-assets-")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(file.stat().st_mode & 0o7777 if file.exists() else 0o644)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
