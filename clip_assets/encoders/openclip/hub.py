"""Whether the hub of models answers, asked once: its library asks half a minute for each file."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

ANSWERS_WITHIN_S = 5.0


@contextmanager
def asked_once() -> Generator[None]:
    """In the block, models come from the cache alone where the hub does not answer."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        yield
        return
    logger.warning("%s does not answer; models come from its cache alone", constants.ENDPOINT)
    # What the environment variable of this name sets for a whole process.
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _answers(endpoint: str) -> bool:
    """Whether anything at all comes back; proxies and certificates are those of its library."""
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=ANSWERS_WITHIN_S)
    except Exception:  # of whichever client the library has
        return False
    return True
