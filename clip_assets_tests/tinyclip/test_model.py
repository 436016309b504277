"""What the demo's model, as shipped, understands."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_assets.demo.scenes import ALL_PAIRS, HELD_OUT_PAIRS, Variety
from clip_assets.demo.truth import ADVERTISED_QUERIES, World
from clip_assets.demo.world import build_world
from tools.tinyclip import evaluation
from tools.tinyclip.choices import choices
from tools.tinyclip.evaluation import QUALITY_NAME
from tools.tinyclip.gallery import Gallery, draw_gallery, quality, query_text, ranking
from tools.tinyclip.model import MODEL_FOLDER, WEIGHTS_NAME, TinyClip, Vocabulary

MAX_WEIGHTS_BYTES = 10_000_000
SINGLE = Variety(same=0.0, mixed=0.0)


@pytest.fixture(scope="module")
def clip() -> Iterator[TinyClip]:
    # On a busy machine torch's threads wait for each other longer than they work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield TinyClip()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def gallery(clip: TinyClip) -> Gallery:
    return draw_gallery(clip, 300, seed=31_337, variety=SINGLE)


@pytest.fixture(scope="module")
def varied(clip: TinyClip) -> Gallery:
    return draw_gallery(clip, 150, seed=27_182, variety=Variety())


def test_the_weights_are_small_enough_to_ship() -> None:
    assert (MODEL_FOLDER / WEIGHTS_NAME).stat().st_size <= MAX_WEIGHTS_BYTES


def test_the_published_quality_is_about_the_shipped_weights() -> None:
    published = json.loads((MODEL_FOLDER / QUALITY_NAME).read_text())
    weights = (MODEL_FOLDER / WEIGHTS_NAME).read_bytes()
    assert published["weights_sha256"] == hashlib.sha256(weights).hexdigest()


def test_embeddings_are_unit_rows(clip: TinyClip, gallery: Gallery) -> None:
    texts = clip.encode_texts(["a red circle", "nothing that it knows"])
    for rows in (texts, gallery.features):
        assert rows.shape[1] == 128
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_colour_and_shape_of_fresh_scenes_are_understood(clip: TinyClip, gallery: Gallery) -> None:
    measured = quality(clip, gallery, ALL_PAIRS)
    assert measured.scenes == 300
    assert measured.colour >= 0.97
    assert measured.shape >= 0.95
    assert measured.joint >= 0.95


def test_the_first_image_found_shows_what_was_searched(clip: TinyClip, gallery: Gallery) -> None:
    measured = quality(clip, gallery, ALL_PAIRS)
    assert measured.queries >= 100
    assert measured.precision_at_1 >= 0.97
    assert measured.r_precision >= 0.9


def test_pairs_that_training_never_saw_are_understood_too(clip: TinyClip) -> None:
    gallery = draw_gallery(clip, 400, seed=14_142, variety=SINGLE)
    measured = quality(clip, gallery, HELD_OUT_PAIRS)
    assert measured.scenes >= 15
    assert measured.joint >= 0.9
    assert measured.precision_at_1 >= 0.9


def test_counts_and_sizes_are_told_apart(clip: TinyClip, varied: Gallery) -> None:
    measured = choices(clip, varied)
    assert measured["count, given colour and shape"].correct >= 0.95
    assert measured["size, given colour and shape"].correct >= 0.9


@pytest.mark.parametrize("form", ["A {} {}", "my favourite {} {} ever, seen on the wall"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_case_and_unknown_words_change_little(
    clip: TinyClip, gallery: Gallery, form: str, case: Callable[[str], str]
) -> None:
    pair = gallery.scenes[0].things[0].pair
    scores = gallery.features @ clip.encode_texts([case(form.format(*pair))])[0]
    assert gallery.scenes[int(scores.argmax())].things[0].pair == pair


def test_a_query_that_names_only_a_shape_finds_it(clip: TinyClip, gallery: Gallery) -> None:
    scores = gallery.features @ clip.encode_texts(["a heart"])[0]
    assert gallery.scenes[int(scores.argmax())].things[0].shape == "heart"


def test_every_rank_tells_whether_it_matches(clip: TinyClip, gallery: Gallery) -> None:
    pair = ALL_PAIRS[0]
    hits = ranking(clip, gallery, pair)
    assert len(hits) == len(gallery.scenes)
    assert hits.sum() == sum(pair in scene.pairs for scene in gallery.scenes)
    assert query_text(pair) == "a red circle"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("searched") / "demo", "http://127.0.0.1:9", 150)


@pytest.mark.parametrize("query", ADVERTISED_QUERIES)
def test_an_advertised_query_finds_its_image_in_a_world(
    clip: TinyClip, world: World, query: str, embedded: tuple[list[str], np.ndarray]
) -> None:
    names, features = embedded
    best = names[int((features @ clip.encode_texts([query])[0]).argmax())]
    assert world.matches(f"{world.base_url}/images/{best}", query)


@pytest.fixture(scope="module")
def embedded(clip: TinyClip, world: World) -> tuple[list[str], np.ndarray]:
    """The names and features of the files of a world."""
    paths = sorted((world.folder / "images").iterdir())
    return [path.name for path in paths], clip.encode_jpegs([path.read_bytes() for path in paths])


def test_a_vocabulary_numbers_its_tokens_in_order_and_others_zero() -> None:
    vocabulary = Vocabulary.of(np.array([[49406, 320, 49407, 0], [49406, 736, 49407, 0]]))
    assert vocabulary.token_ids.tolist() == [320, 736, 49406, 49407]
    assert vocabulary.renumber(np.array([49406, 736, 999, 49407, 0])).tolist() == [3, 2, 0, 4, 0]


def test_evaluation_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluation.main(["--help"])
    assert "MODEL_DIR" in capsys.readouterr().out


def test_evaluation_prints_and_writes_the_same_numbers(
    clip: TinyClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in MODEL_FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    evaluation.main([str(tmp_path), "--scenes", "150", "--seed", "5"])
    written = json.loads((tmp_path / QUALITY_NAME).read_text())
    printed = capsys.readouterr().out
    for numbers in written["galleries"].values():
        assert f"| {numbers['joint']:.3f} |" in printed
