"""A vector in a file is a query, anything else in it is refused."""

from pathlib import Path

import numpy as np
import pytest

from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.errors import ConfigurationError, ImageError
from clip_assets.retrieval.queries import encode, vector_in
from clip_assets.settings import InferenceSettings


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_a_file_of_one_vector_is_a_query(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = tmp_path / "v.npy"
    np.save(file, np.ones(shape, np.float16))
    assert vector_in(str(file)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["zip", "text", "objects", "words", "empty", "integers", "none"])
def test_file_without_a_vector_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "v.npy"
    with file.open("wb") as content:
        match name:
            case "zip":
                np.savez(content, a=np.zeros(3))
            case "text":
                content.write(b"0.1 0.2")
            case "objects":
                np.save(content, np.array([{}]), allow_pickle=True)
            case "words":
                np.save(content, np.array(["a"]))
            case "integers":
                np.save(content, np.array([1, 2]))
            case "none":
                file.unlink()
            case _:
                pass
    with pytest.raises(ConfigurationError, match="one vector"):
        vector_in(str(file))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    demo = InferenceSettings(model="demo")
    with pytest.raises(ImageError, match=r"a\.jpg: found undecodable image"):
        encode(tmp_path / "a.jpg", lambda: load_encoder(demo, "cpu"))
