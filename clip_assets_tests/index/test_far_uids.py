"""Uids behind a server are found by a few ranges, and are those that a disk has."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clip_assets.errors import SchemaError, SourceChangedError, SourceMissingError
from clip_assets.files.hub_files import web_address
from clip_assets.files.kept import Kept
from clip_assets.index import mapped_rows
from clip_assets.index.far.far_uids import FarUids
from clip_assets.index.mapped_rows import UidsInOrder
from clip_assets.storage import uids
from clip_assets.storage.uids import UidPairs
from clip_assets_tests.servers import Bucket, Hub

NAME = "we/pairs"
ROWS = 20_000
MANY = 10 * ROWS


def drawn(seed: int, rows: int = ROWS) -> list[str]:
    """Uids as digests are."""
    every = np.random.default_rng(seed).bytes(16 * rows).hex()
    return [every[start : start + 32] for start in range(0, 32 * rows, 32)]


def with_run(below: int, alike: int, above: int) -> list[str]:
    """Uids of which many in the middle begin alike."""
    others = drawn(7, 3 * ROWS)
    return [
        *(f"8{0:015x}{number:016x}" for number in range(alike)),
        *[uid for uid in others if uid < "8"][:below],
        *[uid for uid in others if uid > "8001"][:above],
    ]


RANGES = {
    "digests": drawn(0),
    "many": drawn(1, MANY),
    "few": drawn(2, 7),
    "none": [],
    # Uids of other pools: no digests, some of them at the ends, some there twice.
    "zeros": ["0" * 32] * ROWS,
    "low": [f"{number // 2:032x}" for number in range(ROWS)],
    "ends": [*drawn(3), "0" * 32, "f" * 32, "0" * 31 + "1", "f" * 31 + "e", "f" * 32],
    "twice": drawn(4, ROWS // 2) * 2,
    "alike": [uid[:16] + other for uid in drawn(5, 4_000) for other in ("0" * 16, uid[:16])],
    # Around the expected place one end is within the run.
    "before": with_run(ROWS // 2 - 4_000, 4_050, ROWS // 2 - 50),
    "behind": with_run(ROWS // 2 - 50, 4_050, ROWS // 2 - 4_000),
    # Near the middle places are further off than those of digests, at the end they are not.
    "further": [*drawn(8), *(f"00{number:030x}" for number in range(ROWS // 20))],
}
NAMES = list(RANGES)


def pairs(names: list[str]) -> UidPairs:
    return uids.pairs(pa.chunked_array([names], pa.string()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("uids")
    for name, of in RANGES.items():
        # A row that is not in use is not among them.
        mapped_rows.write_uids(made / name, [pa.array([None, *of], pa.string())])
    return made


@pytest.fixture
def far(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> FarUids:
    hub.files[NAME] = {f"{name}.npy": (folder / name).read_bytes() for name in NAMES}
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    base = web_address(f"hf://datasets/{NAME}")
    return FarUids(lambda number: f"{base}/{NAMES[number]}.npy", Kept())


def asked() -> list[str]:
    """One of each kind: at an end, in the middle, absent, there twice."""
    own = [uid for of in RANGES.values() for uid in [*of[:2], *of[-2:]]]
    beside = [f"{int(uid, 16) ^ 1:032x}" for uid in own]
    return [*own, *beside, *drawn(9, 5), "0" * 32, "f" * 32, f"{ROWS:032x}"]


def check_as_on_a_disk(
    far: FarUids, folder: Path, wanted: UidPairs, names: Sequence[str] = NAMES
) -> None:
    found = far.among([NAMES.index(name) for name in names], wanted)
    for name, here in zip(names, found, strict=True):
        disk = UidsInOrder(*np.load(folder / name))
        assert here.find(wanted).tolist() == disk.find(wanted).tolist(), name
        assert here.every(wanted).tolist() == disk.every(wanted).tolist(), name


def test_uids_are_those_of_a_disk(far: FarUids, folder: Path) -> None:
    for uid in [*asked()[:2], RANGES["before"][0], RANGES["behind"][4_049]]:
        check_as_on_a_disk(far, folder, pairs([uid]))
    further = sorted(RANGES["further"])
    two = [further[-9], further[ROWS // 2]]
    for wanted in [], ["0" * 32] * 40, two, asked(), RANGES["digests"][::3] + drawn(9):
        check_as_on_a_disk(far, folder, pairs(wanted))


def test_uids_of_a_bucket_are_those_of_a_disk(bucket: Bucket, folder: Path) -> None:
    names = ["digests", "few", "none", "low"]
    for name in names:
        bucket.put(f"{name}.npy", (folder / name).read_bytes())
    far = FarUids(lambda number: f"{bucket.url}/{NAMES[number]}.npy", Kept())
    for wanted in asked()[:1], asked():
        check_as_on_a_disk(far, folder, pairs(wanted), names)


@pytest.mark.parametrize("name", ["digests", "many"])
def test_a_uid_takes_a_few_short_ranges(far: FarUids, hub: Hub, name: str) -> None:
    number, in_order = NAMES.index(name), sorted(RANGES[name])
    far.among([number], pairs(in_order[:1]))  # its head is kept from here on
    # Eight standard deviations of half the root of the rows, of 8 bytes.
    around = 8 * (4 * len(in_order) ** 0.5 + 10)
    for wanted, ranges, most_bytes in (
        ([in_order[5_000]], 3, around),
        (drawn(9, 1), 1, around),
        # Near each other they are read together.
        ([in_order[5_000], in_order[6_500]], 3, around + 3 * 8 * 1_500),
    ):
        hub.requests.clear()
        hub.sent_bytes = 0
        far.among([number], pairs(wanted))
        assert len([told for told in hub.requests if "/stored/" in told]) == ranges
        assert hub.sent_bytes < most_bytes


def test_a_file_that_is_another_by_now_is_an_error(far: FarUids, hub: Hub) -> None:
    number, wanted = NAMES.index("digests"), pairs(RANGES["digests"][:1])
    far.among([number], wanted)
    stored = hub.files[NAME]["digests.npy"]
    hub.files[NAME]["digests.npy"] = stored[:-8] + bytes(8)
    with pytest.raises(SourceChangedError, match="as when it was opened"):
        far.among([number], wanted)


def test_what_is_no_file_of_uids_is_an_error(far: FarUids, hub: Hub) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((2, ROWS), np.uint64))
    hub.files[NAME] |= {"few.npy": content.getvalue(), "low.npy": bytes(500)}
    for name in ("few", "low"):
        with pytest.raises(SchemaError, match=r"\(3, n\)"):
            far.among([NAMES.index(name)], pairs(drawn(9, 1)))
    del hub.files[NAME]["zeros.npy"]
    with pytest.raises(SourceMissingError):
        far.among([NAMES.index("zeros")], pairs(drawn(9, 1)))


def test_each_row_of_a_uid_is_found(folder: Path) -> None:
    disk, wanted = UidsInOrder(*np.load(folder / "twice")), pairs(RANGES["twice"][:3])
    assert disk.find(wanted).tolist() == [1, 2, 3]
    half = ROWS // 2
    assert disk.every(wanted).tolist() == [1, 2, 3, 1 + half, 2 + half, 3 + half]
