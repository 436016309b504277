"""Languages of captions: what the models say, and what is wrong with models."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clip_assets.errors import ConfigurationError, SourceError
from clip_assets.states import unfinished
from clip_assets.subsets import languages
from clip_assets.subsets.languages import cld3, fasttext_model, spoken
from clip_assets.subsets.subset_files import SUBSETS
from clip_assets_tests import datacomp
from clip_assets_tests.outcomes import Outcomes, Pair

MODEL = str(datacomp.language_model())
CAPTIONS = {
    "en": "an old house in the street\nwith a red door and two dogs",
    "de": "ein altes Haus in der Straße mit einer roten Tür und zwei Hunden",
    "ru": "старый дом на улице с красной дверью и двумя собаками",  # noqa: RUF001
}


def test_both_models_tell_languages() -> None:
    texts = pa.chunked_array([[*CAPTIONS.values(), None]], pa.string())
    every = np.ones(len(texts), dtype=bool)
    for place, language in enumerate(CAPTIONS):
        for detect in (fasttext_model(MODEL, language), cld3()):
            is_spoken = spoken(detect, language, texts, every)
            assert np.flatnonzero(is_spoken).tolist() == [place]
            # What is not asked about is in no language.
            assert not spoken(detect, language, texts, ~is_spoken).any()


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"lid\.176\.bin: found nothing.* says where to get it"):
        fasttext_model(str(tmp_path / "lid.176.bin"), "en")


def test_a_model_that_was_cut_off_is_not_read(tmp_path: Path) -> None:
    content = datacomp.language_model().read_bytes()
    (file := tmp_path / "lid.176.ftz").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=languages.PUBLISHED["lid.176.ftz"]):
        fasttext_model(str(file), "en")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(SourceError, match=r"wrong file format.* a supervised model"):
        fasttext_model(str(file), "en")


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'eng'.*one of en"):
        fasttext_model(MODEL, "eng")


def test_a_pools_basic_filter_has_the_language_rule_when_it_is_told_a_model(
    made: Outcomes,
) -> None:
    made.add(0, [Pair(caption) for caption in CAPTIONS.values()])
    made.metadata()
    assert made.subset("basic_filter").report.rows_out == 3
    rule = {"baseline": "basic_filter", "language_model": MODEL}
    made.set(subsets={"basic_filter": rule})
    assert unfinished(made.pool, [SUBSETS], "subset") == ["no_filter", "basic_filter"]
    report = made.subset("basic_filter").report
    assert (report.rows_out, report.dropped["other_language"]) == (1, 2)
    assert report.figures["definition"] == rule
    made.set(subsets={"basic_filter": rule | {"language": "de"}})
    assert made.subset("basic_filter").report.rows_out == 1
