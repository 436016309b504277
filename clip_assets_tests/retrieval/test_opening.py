"""A query from what a command line gives, and an index before a model."""

from pathlib import Path

import numpy as np
import pytest

from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.retrieval import opening
from clip_assets.retrieval.queries import Uid
from clip_assets.settings import Inference, Settings
from clip_assets.storage.store import Store


def test_each_kind_of_query_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "v.npy"
    np.save(file, np.ones((1, 3), np.float16))
    assert opening.query(text="a cat") == "a cat"
    assert opening.query(image="a.jpg") == Path("a.jpg")
    assert opening.query(uid="") == Uid("")
    found = opening.query(embedding=str(file))
    assert isinstance(found, np.ndarray)
    assert found.shape == (3,)


@pytest.mark.parametrize("name", ["zip", "text", "objects", "words", "empty", "integers"])
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
            case _:
                pass
    with pytest.raises(ConfigurationError, match="one vector"):
        opening.query(embedding=str(file))


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        opening.query(text=text)


@pytest.mark.parametrize("needs_model", [True, False])
def test_missing_index_is_found_before_a_model_is_loaded(store: Store, needs_model: bool) -> None:
    settings = Settings(inference=Inference(model="no such model"))
    with pytest.raises(MissingArtifactError, match="clip-assets run"):
        opening.searcher(store, settings, needs_model=needs_model)
