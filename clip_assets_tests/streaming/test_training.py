"""open_clip's own trainer, unmodified, learns from a subset of a demo pool."""

import logging
import math
import re
from argparse import Namespace
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip_train.scheduler import const_lr
from open_clip_train.train import train_one_epoch

from clip_assets import Pool, relation
from clip_assets.storage import uids
from clip_assets.streaming.cropping import CenterCrop
from clip_assets.streaming.dealing import Batches
from clip_assets.streaming.decoded import Decoded
from clip_assets.streaming.loader import Loader
from clip_assets.streaming.pool_samples import PoolSamples
from clip_assets.streaming.stream import Stream
from clip_assets.streaming.trainer import TrainingData
from clip_assets_tests import models


@pytest.mark.slow
def test_the_loss_of_open_clips_trainer_falls(
    demo_pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = models.write_model(tmp_path / "model", models.SMALL)
    model = open_clip.create_model(f"local-dir:{folder}", output_dict=True)
    known = relation(demo_pool, "shard_rows").filter("status = 'success' AND caption LIKE 'a %'")
    chosen = uids.pairs(known.project("uid").to_arrow_table()["uid"])
    stream = Stream(PoolSamples(demo_pool, uids.in_order(chosen)), batch_size=24)
    loader = Loader(Decoded(stream, CenterCrop(32)), Batches(stream, drop_last=True))
    data = {"train": TrainingData(loader, open_clip.get_tokenizer(f"local-dir:{folder}"))}
    arguments = Namespace(
        device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=False,
        grad_clip_norm=None, horovod=False, rank=0, local_rank=0, world_size=1, batch_size=24,
        log_every_n_steps=1, wandb=False, log_local=False,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 5e-4, (0.9, 0.98), weight_decay=0.2)
    schedule = const_lr(optimizer, 5e-4, 2, 1_000)
    with caplog.at_level(logging.INFO):
        for epoch in range(10):
            train_one_epoch(
                model, data, open_clip.ClipLoss(), epoch, optimizer, None, schedule, None, arguments
            )
    losses = [float(loss) for loss in re.findall(r" Loss: (\S+)", caplog.text)]
    assert loader.epoch == 10
    # What a model has that knows nothing is the logarithm of the batch size.
    assert sum(losses[-5:]) / 5 < math.log(24) - 0.3
