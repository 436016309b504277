"""The written data set to a hub: only what is not there yet, made visible in one commit.

What is written is said by ``hub_dataset``. A file counts as there by the digest that its hub tells.
Large files are sent before the commit, by digest, so a push that was killed goes on with what is
missing, and nobody sees half a data set. A hub that is busy is the matter of ``patience``.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_assets import layout
from clip_assets.errors import ConfigurationError
from clip_assets.pool.pool import Pool
from clip_assets.publishing.patience import patiently
from clip_assets.publishing.version_file import as_published
from clip_assets.storage import full_disk
from clip_assets.storage.manifests import Output
from clip_assets.storage.store import Store

SENT_FILES = 50
"""Files that are on this machine's disk at once, where the store is not."""

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
    from huggingface_hub import HfApi, constants

    hub = HfApi(library_name="clip-assets")
    ours = {as_published(output.path): output for output in made.outputs}
    with full_disk.told(repository, [*pool.store.folders, Path(constants.HF_HOME).parent]):
        return _Repository(hub, repository, pool.store, ours).brought(public=public)


@dataclass(frozen=True, slots=True)
class _Repository:
    """A repository of a hub, and what is to be in it by path."""

    hub: Any
    name: str
    store: Store
    ours: dict[str, Output]

    def brought(self, *, public: bool) -> Pushed:
        """Make it hold what is ours, and nothing else."""
        patiently(self.name, "making the repository", lambda: self._make(public=public))
        before = patiently(self.name, "listing files", self._differences)
        changed, additions = before.sent, list[Any]()
        for start in range(0, len(changed), SENT_FILES):
            names = changed[start : start + SENT_FILES]
            additions += self._sent(names)
        patiently(self.name, "the commit", lambda: self._commit(additions))
        return before

    def _make(self, *, public: bool) -> None:
        self.hub.create_repo(self.name, repo_type="dataset", private=not public, exist_ok=True)

    def _differences(self) -> Pushed:
        entries = self.hub.list_repo_tree(self.name, recursive=True, repo_type="dataset")
        there = {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}
        same = [n for n, output in self.ours.items() if _is_same(self.store, output, there.get(n))]
        return Pushed(
            sorted(self.ours.keys() - same), same, sorted(there.keys() - self.ours.keys() - {*KEPT})
        )

    def _sent(self, names: list[str]) -> list[Any]:
        """Large ones of some files sent, for a commit that names them."""
        from huggingface_hub import CommitOperationAdd

        with ExitStack() as stack:
            files = {n: stack.enter_context(self.store.local(self.ours[n].path)) for n in names}
            additions = [CommitOperationAdd(name, str(file)) for name, file in files.items()]
            patiently(
                self.name,
                f"sending {names[0]} and {len(names) - 1} more",
                lambda: self.hub.preupload_lfs_files(self.name, additions, repo_type="dataset"),
            )
            # A small file goes with the commit, when its copy here is gone.
            return [
                CommitOperationAdd(one.path_in_repo, files[one.path_in_repo].read_bytes())
                if one.path_or_fileobj
                else one
                for one in additions
            ]

    def _commit(self, additions: list[Any]) -> None:
        from huggingface_hub import CommitOperationDelete

        now = self._differences()
        if not now.sent and not now.removed:
            return  # or an answer was lost, and it is done
        removals = [CommitOperationDelete(path_in_repo=name) for name in now.removed]
        self.hub.create_commit(
            self.name,
            [*additions, *removals],
            commit_message=f"{len(additions)} files, {len(removals)} removed",
            repo_type="dataset",
        )


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
