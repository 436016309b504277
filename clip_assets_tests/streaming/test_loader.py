"""Batches are the same by threads, by worker processes and over ranks, and go on anywhere."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from clip_assets.errors import ConfigurationError, SourceMissingError
from clip_assets.layout import Key
from clip_assets.storage.store import Store
from clip_assets.streaming.batch_memory import BatchMemory
from clip_assets.streaming.cropping import CenterCrop
from clip_assets.streaming.dealing import Batches
from clip_assets.streaming.decoded import Decoded, Flaw, TrainingBatch
from clip_assets.streaming.loader import Loader
from clip_assets.streaming.pool_samples import PoolSamples
from clip_assets.streaming.stream import Stream
from clip_assets.streaming.tar_samples import TarSamples
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.streaming.conftest import RARE, Streamed, uid_of, write_tar

SIDE = 32


def decoded(tars: Path, **arguments: Any) -> Decoded:
    stream = Stream(TarSamples(str(tars)), **{"batch_size": 8, "seed": 3} | arguments)
    return Decoded(stream, CenterCrop(SIDE), scores=["number", "rare"])


def uids(batches: Sequence[TrainingBatch]) -> list[list[str]]:
    return [batch.uids for batch in batches]


def test_rows_of_a_batch_are_about_the_same_sample(tars: Path) -> None:
    batches = list(Loader(decoded(tars), threads=3))
    assert [len(batch) for batch in batches] == [8] * 6 + [5]
    seen: list[int] = []
    for batch in batches:
        assert (batch.images.dtype, batch.images.shape[1:]) == (torch.uint8, (3, SIDE, SIDE))
        is_rare = batch.scores["number"] == RARE
        assert batch.scores["rare"][is_rare].tolist() == [0.5] * int(is_rare.sum())
        assert torch.isnan(batch.scores["rare"][~is_rare]).all()
        for row, number in enumerate(map(int, batch.scores["number"])):
            seen.append(number)
            assert batch.captions[row] == f"caption {number}"
            assert batch.uids[row] == uid_of(number)
            pixels = CenterCrop(SIDE)(encoded(draw(number)))
            assert np.array_equal(batch.images[row].permute(1, 2, 0), pixels)
    assert sorted(seen) == list(range(53))


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        (["nubmer"], "'nubmer', which no sample says, expected some of number, rare"),
        (["number", "caption"], "'caption', which is no number"),
        ("number", r"'number', expected several names. Write \['number'\]"),
    ],
)
def test_scores_that_no_sample_says_are_refused(
    tars: Path, scores: Sequence[str], found: str
) -> None:
    with pytest.raises(ConfigurationError, match=found):
        Decoded(Stream(TarSamples(str(tars))), CenterCrop(SIDE), scores)


def test_what_is_no_set_and_fewer_than_no_threads_are_refused(tars: Path) -> None:
    for odd in (str(tars), [str(tars)]):
        with pytest.raises(ConfigurationError, match=r"TarSamples\(\.\.\.\)"):
            Stream(odd)  # pyright: ignore[reportArgumentType]
    for option in ("threads", "workers"):
        with pytest.raises(ConfigurationError, match=f"{option}: found -1, expected 0 or more"):
            Loader(decoded(tars), **{option: -1})  # pyright: ignore[reportArgumentType]


def test_worker_processes_give_the_same_batches(tars: Path) -> None:
    one = list(Loader(decoded(tars), threads=2))
    two = list(Loader(decoded(tars), workers=2))
    assert uids(one) == uids(two)
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, two, strict=True))


def test_a_batch_that_is_held_stays(tars: Path) -> None:
    held: list[tuple[torch.Tensor, torch.Tensor]] = []
    for _ in range(2):
        for batch in Loader(decoded(tars), threads=2):
            held.append((batch.images.clone(), batch.images[2:5]))
            del batch
    assert all(torch.equal(copy[2:5], part) for copy, part in held)


def test_memory_of_a_batch_that_nobody_holds_comes_again() -> None:
    room = BatchMemory(8)
    first, second = room.take(4), room.take(4)
    places = first.data_ptr(), second.data_ptr()
    part = first.permute(0, 3, 1, 2)[1:].numpy()
    del first, second
    others = [np.empty(4 * 8 * 8 * 3, np.uint8) for _ in range(4)]
    again, third = room.take(3), room.take(4)
    assert (again.data_ptr(), again.shape) == (places[1], (3, 8, 8, 3))
    assert third.data_ptr() not in places
    del part, others
    assert room.take(4).data_ptr() == places[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_pinned_where_there_is_something_to_fetch_them(
    tars: Path, workers: int
) -> None:
    pinned = list(Loader(decoded(tars), workers=workers, pin=True))
    assert uids(pinned) == uids(list(Loader(decoded(tars))))
    is_wanted = torch.accelerator.is_available()
    assert {batch.images.is_pinned() for batch in pinned} == {is_wanted}


def test_torchs_own_loader_reads_it(tars: Path) -> None:
    data = decoded(tars)
    loader = DataLoader(
        data,  # pyright: ignore[reportArgumentType]
        batch_sampler=Batches(data.stream, 1, 2),  # pyright: ignore[reportArgumentType]
        collate_fn=data.collate,
    )
    again = Loader(data, Batches(data.stream, 1, 2))
    assert uids(list(loader)) == uids(list(again))
    assert data.collate([data[5]]).uids == [data.stream.read(5).fields["uid"]]


@pytest.mark.parametrize("workers", [0, 1])
def test_it_goes_on_with_the_next_batch_with_other_workers_and_ranks(
    tars: Path, workers: int
) -> None:
    whole = uids(list(Loader(decoded(tars))))
    first = Loader(decoded(tars), workers=workers)
    before = uids(list(islice(first, 3)))
    state = json.loads(json.dumps(first.state_dict()))
    ranks = []
    for rank in range(2):
        data = decoded(tars)
        loader = Loader(data, Batches(data.stream, rank, 2), workers=1 - workers)
        loader.load_state_dict(state)
        assert len(loader) == 4
        ranks.append(uids(list(loader)))
    assert before + [a + b for a, b in zip(*ranks, strict=True)] == whole


def test_epochs_follow_each_other_and_what_is_left_of_one_comes_first(tars: Path) -> None:
    loader, other = Loader(decoded(tars)), Loader(decoded(tars))
    epochs = [uids(list(loader)) for _ in range(2)]
    assert loader.epoch == 2
    assert sorted(chain(*epochs[0])) == sorted(chain(*epochs[1]))
    assert epochs[0] != epochs[1]
    begun = uids(list(islice(other, 2)))
    assert begun + uids(list(other)) == epochs[0]
    other.start_epoch(1)
    assert uids(list(other)) == epochs[1]


def test_what_cannot_be_used_is_told_and_left_out(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", range(4))
    content = (tmp_path / "a.tar").read_bytes()
    spoilt = encoded(draw(2))
    (tmp_path / "a.tar").write_bytes(content.replace(spoilt, b"x" * len(spoilt)))
    stream = Stream(TarSamples(str(tmp_path)), shuffle=False, batch_size=2)
    first, second = Loader(Decoded(stream, CenterCrop(SIDE)))
    assert (first.captions, first.flaws) == (["caption 0", "caption 1"], [])
    assert second.captions == ["caption 3"]
    assert second.flaws == [Flaw("00002", "undecodable image")]
    assert second.images.shape == (1, 3, SIDE, SIDE)


def test_a_batch_of_nothing_usable_has_no_rows(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [1])
    content, spoilt = (tmp_path / "a.tar").read_bytes(), encoded(draw(1))
    (tmp_path / "a.tar").write_bytes(content.replace(spoilt, b"x" * len(spoilt)))
    [batch] = Loader(Decoded(Stream(TarSamples(str(tmp_path))), CenterCrop(SIDE)))
    assert (len(batch), batch.images.shape) == (0, (0, 3, SIDE, SIDE))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tar_that_is_deleted_meanwhile_ends_it_by_name(
    tars: Path, tmp_path: Path, workers: int
) -> None:
    own = shutil.copytree(tars, tmp_path / "own")
    loader = Loader(decoded(Path(own), batch_size=2), workers=workers)
    batches = iter(loader)
    next(batches)
    (tmp_path / "own/a.tar").unlink()
    with pytest.raises(SourceMissingError, match=r"own/a\.tar"):
        list(batches)


def test_a_query_without_results_is_refused(local_store: Store) -> None:
    made = Streamed(local_store)
    made.add(0, [[1, 2, 3]])
    nothing = np.empty(0, np.dtype("u8,u8"))
    with pytest.raises(ConfigurationError, match="found no samples"):
        Stream(PoolSamples(made.pool, nothing, name="unicorns"))
    everything = PoolSamples(made.pool, name="everything")
    with pytest.raises(ConfigurationError, match="share of unicorns: found no samples"):
        Stream([everything, PoolSamples(made.pool, nothing, name="unicorns")], shares=[1, 1])
    assert made.pool.partitions == [Key("00000")]


def one_rank(rank: int, meeting: str, tars: str, answers: str) -> None:
    """A rank of a training by gloo: gradients are averaged, and every step waits for both."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    data = decoded(Path(tars))
    loader = Loader(data, Batches(data.stream, drop_last=True), threads=1)
    model = DistributedDataParallel(torch.nn.Linear(3, 1))
    seen: list[list[str]] = []
    for batch in loader:
        model(batch.images.float().mean((2, 3))).sum().backward()
        seen.append(batch.uids)
    [gradient] = [weights.grad for weights in model.parameters() if weights.ndim == 2]
    assert gradient is not None
    Path(answers, f"{rank}.json").write_text(json.dumps([seen, gradient.tolist()]))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_together(tars: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "meeting"), str(tars), str(tmp_path))
    ranks = [context.Process(target=one_rank, args=(rank, *arguments)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    (first, gradients), (second, same) = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)
    )
    assert gradients == same
    data = decoded(tars)
    alone = list(Loader(data, Batches(data.stream, drop_last=True)))
    assert [a + b for a, b in zip(first, second, strict=True)] == uids(alone)


def one_that_may_die(rank: int, meeting: str, tars: str, answers: str, dies_at: int) -> None:
    """A rank that notes what it trained on, and where it is after each step; one kills itself."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    data = decoded(Path(tars))
    loader = Loader(data, Batches(data.stream, drop_last=True), threads=1)
    seen: list[str] = []
    for step, batch in enumerate(loader):
        if (rank, step) == (1, dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            dist.all_reduce(batch.images.float().mean())
        except RuntimeError as error:
            Path(answers, "error").write_text(str(error))
            raise
        seen += batch.uids
        told = json.dumps([seen, loader.state_dict()])
        Path(answers, f"{rank}.json").write_text(told)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_and_what_was_left_comes_once(
    tars: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "meeting"), str(tars), str(tmp_path), 3)
    ranks = [context.Process(target=one_that_may_die, args=(rank, *arguments)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    # The other one had an error of its own, and its threads and readers ended with it.
    assert [process.exitcode for process in ranks] == [1, -signal.SIGKILL]
    assert "by peer" in (tmp_path / "error").read_text()
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    (first, state), (second, same) = parts
    assert state == same
    left = Loader(decoded(tars))
    left.load_state_dict(state)
    rest = list(chain(*uids(list(left))))
    every = [*first, *second, *rest]
    assert len(first) == len(second) == 3 * 4
    assert sorted(every) == sorted(uid_of(number) for number in range(53))
