"""Answers that do not keep to HTTP, read as browsers and Python's own client read them.

aiohttp refuses a blank before a colon, two lengths, a line without a colon and the like, and loses
living images by it. Here the head of an answer is written anew before aiohttp sees it, and the end
of a body is what its framing says. A connection on which something odd came is not used again, so
that no answer can pass for that of another url.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage

from clip_assets.download.fetch.faults import FetchError

HEAD_BYTES = 2**17
"""Of a status line and its headers. Chrome and curl read a quarter of a million and more."""

PIECE_BYTES = 2**18
"""Unpacked at once."""

UNPACKED_BYTES = 2**25
"""That a coding may give where nothing else is said."""

CODINGS_LIMIT = 5
"""Codings of one body that are undone, as curl does; what is left is no image."""

HEAD_OF_CODING = 2
"""Bytes by which forms of a coding tell themselves."""

MEMBERS_LIMIT = 100
"""Files behind each other in one gzip; further ones are left out."""

BODILESS = frozenset({b"204", b"304"})
"""Statuses that are never followed by a body."""

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/(?:0\.9|1(?:\.\d)?)[ \t]+(\d{3})(?!\d)[ \t]*(.*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = bytes({*range(32), 127} - {9})

_FORMS = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}
# What zlib calls the forms of a coding.

_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")
# How files begin that a deflate without a head could be taken for.

_CUT_ENDS = {b"\n0": b"\r\n\r\n", b"\n0\r": b"\n\r\n", b"\n0\r\n": b"\r\n"}
# Ends of a chunked body that lack the last line end, and what they lack.


class ForgivingHandler(ResponseHandler):
    """aiohttp's end of a connection, which reads what others read."""

    _head: bytearray | None = None  # None: a body comes
    _left: int | None = None  # bytes of a body whose length is known
    _tail_of_chunks: bytes | None = None

    def set_response_params(self, **params: Any) -> None:
        """Expect another answer."""
        self._head, self._left, self._tail_of_chunks = bytearray(), None, None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take what came, or nothing, by which aiohttp goes on with what it has."""
        if self._parser is None or not data:
            super().data_received(data)
        elif self._head is None:
            self._body_received(data)
        else:
            self.start_timeout()
            self._head_received(self._head, data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Fail whoever waits, also for a body, which aiohttp leaves waiting for its timeout."""
        payload = self._payload
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let a body be whole that lacks only its last line end."""
        tail = self._tail_of_chunks or b""
        missing = _CUT_ENDS.get(tail[tail.find(b"\n") :])
        if missing and exc is None:
            super().data_received(missing)
        super().connection_lost(exc)

    def _head_received(self, head: bytearray, data: bytes) -> None:
        head += data
        while self._head is not None and (end := _END.search(head)):
            status = _STATUS.match(head)
            if status and status[1].startswith(b"1") and status[1] != b"101":
                del head[: end.end()]  # "100 Continue" and the like; the answer follows
                continue
            first, body = bytes(head[: end.start()]), bytes(head[end.end() :])
            self._head = None
            super().data_received(self._cleaned(first))
            self._body_received(body)
        if self._head is None:
            return
        if not head.startswith(b"HTTP/"[: len(head)]):
            self._head = None
            super().data_received(bytes(head))
        elif len(head) > HEAD_BYTES:
            self.set_exception(BadHttpMessage(f"more than {HEAD_BYTES:,} bytes of headers"))
            self.close()

    def _cleaned(self, head: bytes) -> bytes:
        """A head that aiohttp reads; notes how its body is framed."""
        first, *lines = re.split(rb"\r?\n", head)
        status = _STATUS.match(first)
        if status is None:
            return head + b"\r\n\r\n"
        fields = _fields(lines)
        framing, is_odd = _framing(fields)
        if is_odd or len(fields) < len(lines):
            self.force_close()
        if status[1] in BODILESS:
            self._left = 0
        elif framing.startswith(b"Content-Length"):
            self._left = int(framing.partition(b":")[2])
        elif framing:
            self._tail_of_chunks = b""
        version = b"HTTP/1.1" if first[5:8] not in (b"0.9", b"1.0") else b"HTTP/1.0"
        others = [
            b"%s: %s" % field
            for field in fields
            if field[0].lower() not in (b"content-length", b"transfer-encoding", b"upgrade")
        ]
        start = b"%s %s %s" % (version, status[1], status[2].translate(None, _CONTROLS))
        return b"\r\n".join([start, *others, *([framing] if framing else []), b"", b""])

    def _body_received(self, data: bytes) -> None:
        if self._tail_of_chunks is not None:
            self._tail_of_chunks = (self._tail_of_chunks + data[-4:])[-4:]
        is_more = self._left is not None and len(data) > self._left
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            super().data_received(data)
        if is_more:
            self.close()


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Names and values of headers, without those whose name no standard allows."""
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line.strip())
            continue
        name, colon, value = line.partition(b":")
        if colon and _TOKEN.fullmatch(name.strip()):
            fields.append((name.strip(), value.translate(None, _CONTROLS).strip()))
    return fields


def _framing(fields: list[tuple[bytes, bytes]]) -> tuple[bytes, bool]:
    """The one header that says where a body ends, and whether there was more to say.

    Chunks count before a length, the first length before others; a body of which neither is told
    ends with its connection.
    """

    def told(wanted: bytes) -> list[bytes]:
        values = b",".join(value for name, value in fields if name.lower() == wanted)
        return [value.strip().lower() for value in values.split(b",")] if values else []

    lengths, codings = told(b"content-length"), told(b"transfer-encoding")
    if codings and codings[-1] == b"chunked":
        return b"Transfer-Encoding: chunked", bool(lengths) or len(codings) > 1
    numbers = [value for value in lengths if re.fullmatch(rb"\d{1,18}", value)]
    is_odd = bool(codings) or len(lengths) > 1 or len(numbers) < len(lengths)
    return (b"Content-Length: " + numbers[0] if numbers else b""), is_odd


class Unpacker:
    """Undoes Content-Encodings where their labels are true; nobody asks for one.

    Args:
        label: value of the header; the last coding named was applied last.
        limit: bytes that each coding may give.
    """

    def __init__(self, label: str, limit: int = UNPACKED_BYTES) -> None:
        names = [name for name in (word.strip().lower() for word in label.split(",")) if name]
        packed = [name for name in reversed(names) if name in _FORMS]
        self._layers = [_Layer(_FORMS[name], limit) for name in packed[:CODINGS_LIMIT]]

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        """Pieces of at most ``PIECE_BYTES`` for the next chunk of a body.

        Raises:
            zlib.error: it is damaged.
            FetchError: ``too_large``, as a coding gave more than the limit.
        """
        pieces: Iterator[bytes] = iter((chunk,))
        for layer in self._layers:
            pieces = layer.undone(pieces)
        yield from pieces


class _Layer:
    """One coding of a body."""

    def __init__(self, forms: tuple[int, ...], limit: int) -> None:
        self._forms = forms
        self._limit = self._left = limit
        self._members_left = MEMBERS_LIMIT
        self._start: bytes | None = b""  # None: it has begun
        self._stream: Any = None  # None once it has begun: the label is not true

    def undone(self, packed: Iterator[bytes]) -> Iterator[bytes]:
        """What pieces of the coded body stand for."""
        for chunk in packed:
            whole = chunk
            if self._start is not None:
                whole = self._start = self._start + chunk
                if len(whole) < HEAD_OF_CODING:
                    continue
                self._start, self._stream = None, self._opened(whole)
            yield from self._pieces(whole) if self._stream else (whole,)

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        while chunk and not self._stream.eof:
            piece = self._stream.decompress(chunk, PIECE_BYTES)
            chunk = self._stream.unconsumed_tail
            self._left -= len(piece)
            if self._left < 0:
                raise FetchError("too_large", f"more than {self._limit:,} bytes unpacked")
            if piece:
                yield piece
            # What follows the end is more of the same file in a gzip, and nothing otherwise.
            rest = self._stream.unused_data
            if rest[:1] == b"\x1f" and self._forms == _FORMS["gzip"] and self._members_left:
                self._members_left -= 1
                self._stream, chunk = zlib.decompressobj(self._forms[0]), rest

    def _opened(self, start: bytes) -> Any:
        if any(start.startswith(image[: len(start)]) for image in _IMAGES):
            return None
        for form in self._forms:
            try:
                zlib.decompressobj(form).decompress(start, PIECE_BYTES)
            except zlib.error:
                continue
            return zlib.decompressobj(form)
        return None
