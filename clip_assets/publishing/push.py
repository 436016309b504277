"""The written data set to a hub: only what is not there yet, in commits that can be gone on with.

What is written is said by ``hub_dataset``. A file counts as there by the digest that its hub tells,
so a push that was killed goes on with what is missing. The card comes last.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from clip_assets import layout
from clip_assets.errors import ConfigurationError
from clip_assets.files.faults import translated
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import Output
from clip_assets.storage.store import Store

COMMIT_FILES = 50
"""Files of one commit: what a kill can lose, but for files that the hub keeps by digest."""

KEPT = (".gitattributes",)
"""Files that a hub makes by itself."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Args:
        sent: files that were not there, or not as they are.
        same: files that were there.
        removed: files that are no longer of the data set.
    """

    sent: list[str]
    same: list[str]
    removed: list[str]


def push(pool: Pool, *, public: bool = False) -> Pushed:
    """Bring the data set that is written in the store to its repository.

    Who may is known to huggingface_hub, by ``HF_TOKEN`` or its own login.

    Args:
        pool: whose.
        public: whether everybody sees a repository that is made now; one that is there stays as
            it is.

    Raises:
        ConfigurationError: the settings name no repository.
        MissingArtifactError: nothing is written yet.
        SourceError: the hub cannot be reached, or refuses.
    """
    repository = pool.settings.hub.repository
    made = pool.catalog.require(layout.HUB_DATASET)
    if not repository or not made.outputs:
        raise ConfigurationError(
            "hub.repository",
            repr(repository) if not repository else "nothing that was written for it",
            "ORGANISATION/NAME, and the data set written",
            f"Set it in pool.yaml, then: clip-assets run --select {layout.HUB_DATASET}",
        )
    from huggingface_hub import CommitOperationDelete, HfApi

    hub = HfApi(library_name="clip-assets")
    with translated(repository):
        hub.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        there = {entry.path: entry for entry in _files(hub, repository)}
        ours = {output.path.removeprefix(f"{layout.HUB}/"): output for output in made.outputs}
        same = [n for n, output in ours.items() if _is_same(pool.store, output, there.get(n))]
        card = layout.hub_card().removeprefix(f"{layout.HUB}/")
        changed = sorted(ours.keys() - same, key=lambda name: (name == card, name))
        for start in range(0, len(changed), COMMIT_FILES):
            names = changed[start : start + COMMIT_FILES]
            _commit(hub, repository, pool.store, {name: ours[name] for name in names})
        gone = sorted(there.keys() - ours.keys() - {*KEPT})
        if gone:
            hub.create_commit(
                repository,
                [CommitOperationDelete(path_in_repo=name) for name in gone],
                commit_message=f"{len(gone)} files that are no longer of it",
                repo_type="dataset",
            )
    return Pushed(changed, same, gone)


def _files(hub: Any, repository: str) -> Iterator[Any]:
    entries = hub.list_repo_tree(repository, recursive=True, repo_type="dataset")
    return (entry for entry in entries if hasattr(entry, "blob_id"))


def _is_same(store: Store, output: Output, there: Any) -> bool:
    """Whether the hub's file is ours, by the digest that it tells of it."""
    if there is None or there.size != output.size_bytes:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == output.sha256
    with store.local(output.path) as file:
        content = file.read_bytes()
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest() == there.blob_id


def _commit(hub: Any, repository: str, store: Store, files: dict[str, Output]) -> None:
    from huggingface_hub import CommitOperationAdd

    with ExitStack() as stack:
        additions: Sequence[Any] = [
            CommitOperationAdd(name, str(stack.enter_context(store.local(output.path))))
            for name, output in files.items()
        ]
        hub.create_commit(
            repository, additions, commit_message=f"{len(files)} files", repo_type="dataset"
        )
