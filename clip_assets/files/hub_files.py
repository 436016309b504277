"""Files of a hub by their web addresses, all of one commit.

So they are read by ranges side by side, and none is of another commit than the others.
"""

from typing import Any

from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem

HUB = "hf://"
"""How urls of the hub begin."""


def web_address(uri: str) -> str:
    """The web address of a folder of the hub as it is now, which later commits do not change.

    Args:
        uri: ``hf://datasets/ORGANISATION/NAME``, with ``@REVISION`` or a folder behind it.

    Raises:
        ConfigurationError: the url is none of the hub.
        SourceError: the hub cannot be reached, or refuses; ``SourceMissingError``: it is not there.
    """
    from huggingface_hub import HfApi

    with translated(uri):
        fs, path = filesystem(uri)
        hub: Any = fs
        parts = hub.resolve_path(path)
        api = HfApi(endpoint=hub.endpoint, token=hub.token, library_name="clip-assets")
        told = api.repo_info(parts.repo_id, repo_type=parts.repo_type, revision=parts.revision)
    place = f"{hub.endpoint}/{parts.repo_type}s/{parts.repo_id}/resolve/{told.sha}"
    return f"{place}/{parts.path_in_repo}".rstrip("/")
