"""Small files that may hold a secret: on a disk, their owner alone reads those that do."""

from clip_assets.masking import holds_secret
from clip_assets.storage.store import Store


def write(store: Store, path: str, content: bytes) -> None:
    """Publish a small file of text, readable by its owner alone if a url in it has a secret.

    Who may read an object of a bucket is a matter of the bucket.
    """
    if not holds_secret(content.decode()):
        store.write_bytes(path, content)
        return
    with store.publish(path) as part:
        part.touch(mode=0o600)
        part.write_bytes(content)
