"""Folders of tars, subset files, and what was written from them."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clip_assets import schemas
from clip_assets.storage import uids
from clip_assets_tests.inference.shards import Pair, tar_bytes

Contents = dict[str, dict[str, bytes]]
"""By key, by extension."""


def pair(number: int, size: int = 2_000) -> Pair:
    """A sample whose image is as long as that and like no other."""
    image = np.random.default_rng(number).bytes(size)
    return Pair(number, image=image, fields={"uid": uid(number)})


def uid(number: int) -> str:
    """Uids in no order, with a first half in common now and then."""
    return f"{number * 7919 % 13:016x}{number * 104729 % 65537:016x}"


def folder(path: Path, tars: Mapping[str, Sequence[Pair]]) -> Path:
    """A folder of tars, as img2dataset leaves it but for its parquet files."""
    path.mkdir(parents=True, exist_ok=True)
    for name, pairs in tars.items():
        (path / f"{name}.tar").write_bytes(tar_bytes(pairs, prefix=name))
        (path / f"{name}_stats.json").write_text(json.dumps({"successes": len(pairs)}))
    return path


def subset(path: Path, numbers: Sequence[int]) -> str:
    """A subset file, sorted as DataComp's are."""
    np.save(path, uids.in_order(pairs_of([uid(number) for number in numbers])))
    return str(path)


def pairs_of(texts: Sequence[str]) -> uids.UidPairs:
    """Uids as a subset file holds them, in this order."""
    halves = [(int(text[:16], 16), int(text[16:], 16)) for text in texts]
    return np.array(halves, schemas.UID_PAIR)


def keys(tar: bytes) -> list[str]:
    """Keys of a tar's samples, in its order."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        return list(dict.fromkeys(name.partition(".")[0] for name in file.getnames()))


def contents(tar: bytes) -> Contents:
    """Everything in a tar, as the standard library reads it."""
    found: Contents = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        for member in file:
            key, _, extension = member.name.partition(".")
            content = file.extractfile(member)
            assert content is not None
            assert extension not in found.setdefault(key, {})
            found[key][extension] = content.read()
    return found


def written(path: Path) -> list[bytes]:
    """The tars of an output, in order, each as long as its stats say."""
    tars = sorted(path.glob("*.tar"))
    assert [tar.name for tar in tars] == [f"{number:08d}.tar" for number in range(len(tars))]
    for tar in tars:
        stats = json.loads(tar.with_name(f"{tar.stem}_stats.json").read_text())
        assert stats == {"successes": len(keys(tar.read_bytes()))}
    return [tar.read_bytes() for tar in tars]


def every_key(path: Path) -> list[str]:
    """Keys of an output, in order."""
    return [key for tar in written(path) for key in keys(tar)]
