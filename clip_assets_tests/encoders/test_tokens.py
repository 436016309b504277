"""Which captions a text tower reads the beginning of, by open_clip's tokenizers of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.encoders.openclip import lazy_open_clip
from clip_assets.encoders.openclip.tokens import Tokens

WORDS = ["a", "b", "c", "!"]


def own(_folder: Path) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=16)


def of_transformers(folder: Path, template: str, padding: str, **options: Any) -> Any:
    """A tokenizer of words whose captions are ``template`` and padded with a token of it."""
    from open_clip.tokenizer import HFTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    spelled = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(spelled, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pairs = [(word, spelled[word]) for word in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=pairs)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[UNK]",
        eos_token="[SEP]",
    ).save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=16, **options)


TOKENIZERS: dict[str, tuple[Callable[[Path], Any], int]] = {
    "open_clip's own": (own, 14),
    "BERT's": (lambda folder: of_transformers(folder, "[CLS] $A [SEP]", "[PAD]"), 14),
    "CLIPA's, whose end is padding": (
        lambda folder: of_transformers(folder, "[CLS] $A [SEP]", "[PAD]", strip_sep_token=True),
        14,
    ),
    "CLIP's, padded with its end": (
        lambda folder: of_transformers(folder, "[CLS] $A [SEP]", "[SEP]"),
        14,
    ),
    "SigLIP's, an end alone": (
        lambda folder: of_transformers(folder, "$A [SEP]", "[SEP]", clean="canonicalize"),
        15,
    ),
    "without start and end": (lambda folder: of_transformers(folder, "$A", "[PAD]"), 16),
    "CoCa's, a class behind the padding": (
        lambda folder: of_transformers(folder, "$A", "[PAD]", tokenizer_mode="clips"),
        13,
    ),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_caption_is_cut_when_a_token_of_it_is_not_read(kind: str, tmp_path: Path) -> None:
    lazy_open_clip.load()
    make, room = TOKENIZERS[kind]
    tokens = Tokens(make(tmp_path))
    lengths = [*range(room + 4), 100, 3000]
    captions = [" ".join("abc"[n % 3] for n in range(length)) for length in lengths]
    made = tokens.of(captions)
    assert made.shape == (len(captions), 16)
    expected = np.array(lengths) > room
    np.testing.assert_array_equal(tokens.cut(captions, made), expected)
    # Alone it is told the same as among others.
    for caption, is_cut in zip(captions, expected.tolist(), strict=True):
        assert tokens.cut([caption], tokens.of([caption])).tolist() == [is_cut]


def test_nothing_is_cut_of_nothing() -> None:
    lazy_open_clip.load()
    tokens = Tokens(own(Path()))
    assert tokens.cut([], tokens.of([])).tolist() == []
