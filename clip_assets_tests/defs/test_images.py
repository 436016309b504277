"""The model that the partitions of a run share."""

from clip_assets.defs import images
from clip_assets.settings import Inference


def test_a_model_is_loaded_once_in_a_process() -> None:
    demo = Inference(model="demo")
    first = images.encoder(demo, "cpu")
    assert images.encoder(Inference(model="demo"), "cpu") is first
    other = images.encoder(demo.model_copy(update={"batch_size": 5}), "cpu")
    assert other is not first
    assert other.batch_size == 5
