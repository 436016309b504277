"""Secrets of urls: what is left out wherever a url is told.

A source's url may hold a password, a signature or a token. It is needed whole to fetch, and is so
in the plan alone; errors, records of failures, rejects, logs, Dagster's events and what commands
print have it from here.
"""

import re
from urllib.parse import unquote_plus

MASK = "***"
"""In place of a secret."""

_USER = re.compile(r"(?i)\b(https?|[a-z][a-z0-9+.-]*)://([^/?#\s\"'<>]*)@")
_NAME = r"[\w.%~\[\]+-]{1,100}"
_SEPARATED = re.compile(rf"([?&;#])({_NAME})=((?:[^&;#\s\"'<>]|;(?!{_NAME}=))+)")
# A sentence may go on right behind a url.
_SENTENCE_SIGNS = ".,:;)]}"

_SECRET = re.compile(
    r"(?i).*(?:signature|token|secret|passw(?:or)?d|credential|api[-_.]?key|access[-_.]?key"
    r"|accesskeyid|googleaccessid|hmac|jwt|authorization|session[-_.]?id).*"
    r"|(?:.*[-_.])?(?:sig|sign|key|auth|pwd|pass|pw|policy|password|hdne[a-z]|hdnts)"
    r"|key-pair-id|__gda__|code"
)
"""Names of what signs or opens: S3 and its kin (``X-Amz-Signature``, ``AWSAccessKeyId``), Google
(``X-Goog-Signature``, ``GoogleAccessId``), Azure (``sig``), CloudFront (``Policy``,
``Key-Pair-Id``), Akamai (``hdnts``), and what others call it."""


def encodable(text: str) -> str:
    """A text that can be stored and sent: bytes of a file's name that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


_names: dict[str, str] = {}
# Values of variables that urls name, by value.

SHORTEST = 4
"""Characters of a value that is hidden; a shorter one is in every other word."""


def hide(value: str, name: str) -> None:
    """From now on tell the name of a variable of the environment in place of its value."""
    if len(value) >= SHORTEST:
        _names[value] = f"${{{name}}}"


def named(text: str) -> str:
    """A text with the names of variables in place of their hidden values."""
    for value, name in _names.items():
        text = text.replace(value, name)
    return text


def masked(text: str) -> str:
    """A text with ``MASK`` in place of each password, signature and token of the urls in it.

    A name that stands alone before the host is taken for a token on the web, and for a user
    elsewhere. A text without a secret comes back as it is; a masked one, too.
    """
    text = named(text)
    if "@" in text and "://" in text:
        text = _USER.sub(_user_masked, text)
    return _SEPARATED.sub(_value_masked, text) if "=" in text else text


def holds_secret(text: str) -> bool:
    """Whether ``masked`` changes a text."""
    return masked(text) != text


def _user_masked(url: re.Match[str]) -> str:
    user, colon, _ = url[2].partition(":")
    if not colon and url[1].lower() in ("http", "https"):
        user = MASK
    return f"{url[1]}://{user}{colon and f':{MASK}'}@"


def _value_masked(parameter: re.Match[str]) -> str:
    if not _SECRET.fullmatch(unquote_plus(parameter[2])):
        return parameter[0]
    behind = parameter[3][len(parameter[3].rstrip(_SENTENCE_SIGNS)) :]
    return f"{parameter[1]}{parameter[2]}={MASK}{behind}"
