"""Languages of captions, told by models that others trained.

``fasttext`` is fastText without training, as ``fasttext-predict`` has it; which rows are asked
about is the business of methods.
"""

import difflib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from clip_assets.errors import ConfigurationError, SourceError, SourceFormatError
from clip_assets.files.pinned import pinned
from clip_assets.settings.baselines import ANY, LANGUAGE_MODEL, LanguageSettings
from clip_assets.subsets.judgement import Mask, as_arrow

Detect = Callable[[str], str | None]
"""The language of a text of one line, None where nothing can be said."""

PUBLISHED = {
    "lid.176.bin": "7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e",
    "lid.176.ftz": "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
}
"""sha256 of fastText's models by name. A file of such a name has this hash or is refused: of one
that was cut off, fastText reads for ever."""

LABEL = "__label__"


def detector(settings: LanguageSettings) -> Detect | None:
    """What tells the language that a definition asks for; None if it asks for none.

    Raises:
        ConfigurationError: the model does not know the language.
        SourceError: there is no such model, or it cannot be used.
    """
    if settings.language == ANY:
        return None
    assert settings.language_model is not None
    return fasttext_model(settings.language_model, settings.language)


def fasttext_model(uri: str, language: str) -> Detect:
    """A model of fastText's, which says of a text what DataComp's scripts are told.

    Args:
        uri: path or url of its file.
        language: that it is asked for.

    Raises:
        ConfigurationError: it knows no such language.
        SourceError: there is no such file, or it is no model.
    """
    import fasttext

    try:
        file = pinned(uri, PUBLISHED)
    except SourceError as error:
        raise type(error)(
            error.where,
            error.found,
            error.expected,
            f"{error.advice} It should be {LANGUAGE_MODEL}.",
        ) from error
    try:
        model = fasttext.load_model(str(file))
        labels = model.predict("", k=2**20, threshold=-1.0)[0]
    except (ValueError, MemoryError) as error:
        raise SourceFormatError(
            uri, str(error), "a supervised model of fastText's", f"Give {LANGUAGE_MODEL}."
        ) from error
    known = sorted(label.removeprefix(LABEL) for label in labels)
    if language not in known:
        nearest = difflib.get_close_matches(language, known, 3, 0.5)
        raise ConfigurationError(
            f"language {language!r}",
            f"{uri} does not know it",
            f"one of {', '.join(nearest or known[:20])}",
            "Name it as the model does, or give another model.",
        )

    def detect(text: str) -> str | None:
        said = model.predict(text)[0]
        return said[0].removeprefix(LABEL) if said else None

    return detect


def cld3() -> Detect:
    """CLD3 as LAION and DataComp ask it: of a text's first 1,000 bytes."""
    import gcld3

    identifier = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)
    return lambda text: str(identifier.FindLanguage(text=text).language)


def spoken(detect: Detect, language: str, texts: pa.ChunkedArray, wanted: Mask) -> Mask:
    """Which captions are in a language.

    Args:
        detect: what tells.
        language: which.
        texts: (n,) strings; null is in none.
        wanted: (n,) which of them are asked about; the others are not in it.

    Returns:
        (n,) bool.
    """
    is_spoken = np.zeros(len(texts), dtype=bool)
    asked: Sequence[str | None] = texts.filter(as_arrow(wanted)).to_pylist()
    # The scripts of DataComp put a space for a newline, and for nothing else.
    is_spoken[wanted] = [
        text is not None and detect(text.replace("\n", " ")) == language for text in asked
    ]
    return is_spoken
