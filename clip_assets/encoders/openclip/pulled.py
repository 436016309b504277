"""What a pulled model folder should hold, and whether it still does."""

import hashlib
import json
from pathlib import Path

from clip_assets.errors import ModelLoadError

WEIGHTS = "open_clip_model.safetensors"

RECORD = "clip_assets.json"
"""What was pulled into a model folder, see ``encoders.openclip.folders``."""


def check(name: str, weights_sha256: str) -> None:
    """Refuse a pulled folder that does not hold what was pulled; any other model passes.

    Args:
        name: ``local-dir:FOLDER``, or a name without a folder.
        weights_sha256: of the weights as they were loaded; their file is not read again.

    Raises:
        ModelLoadError: a file is another one, or gone.
    """
    record = Path(name.removeprefix("local-dir:"), RECORD)
    if not record.is_file():
        return
    try:
        told = json.loads(record.read_bytes())
        sha256s = {"weights": (str(told["weights_sha256"]), weights_sha256)}
        for file, expected in told.get("files", {}).items():
            if file != WEIGHTS:
                sha256s[file] = (str(expected), _sha256(record.with_name(file)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(
            name,
            f"a damaged {RECORD} ({type(error).__name__})",
            "the record that was written with the folder",
            "Pull it again: clip-assets models pull",
        ) from error
    for what, (expected, now) in sha256s.items():
        if now != expected:
            raise ModelLoadError(
                name,
                f"{what} {now[:12]}",
                f"{what} {expected[:12]} of {RECORD}",
                "The folder was changed or damaged; pull it again: clip-assets models pull",
            )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "gone"
