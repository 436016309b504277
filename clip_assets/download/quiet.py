"""What decoders say about strangers' files, kept off stderr.

libjpeg and libpng write a line to descriptor 2 for many a broken image, and through cv2 nobody
can tell them not to. While images are decoded descriptor 2 is therefore a pipe, and a thread
passes on everything but those lines. That an image is broken is told by its row.
"""

import os
import re
import threading
from types import TracebackType

NOISE = re.compile(
    rb"Corrupt JPEG data|Premature end of JPEG file|Inconsistent progression sequence"
    rb"|Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code"
    rb"|Warning: unknown JFIF revision|libpng (warning|error): "
    rb"|\[ ?(WARN|ERROR):\d+@\S+\] .*(grfmt_\w+|loadsave|exif|bitstrm)\.cpp"
)
"""How such lines begin."""

CHILD_WAIT_S = 1.0
"""A child process that has inherited the pipe is not waited for any longer."""


class QuietDecoders:
    """Keeps decoders off the process's stderr while any thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stderr = -1
        self._reader = threading.Thread()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._stderr = os.dup(2)
            source, sink = os.pipe()
            os.dup2(sink, 2)
            os.close(sink)
            self._reader = threading.Thread(
                target=_pass_on,
                args=(source, os.dup(self._stderr)),
                name="clip-assets-stderr",
                daemon=True,
            )
            self._reader.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            # This closes the pipe, unless a child process has it, and the reader ends.
            os.dup2(self._stderr, 2)
            os.close(self._stderr)
            self._reader.join(CHILD_WAIT_S)


quiet_decoders = QuietDecoders()
"""The process has one stderr."""


def _pass_on(source: int, sink: int) -> None:
    with open(source, "rb", buffering=0) as lines, open(sink, "wb", buffering=0) as stderr:
        is_cut = False
        while piece := lines.read(65536):
            # Lines are written at once, but libpng writes the end of its own by itself.
            rest = piece[1:] if is_cut and piece.startswith(b"\n") else piece
            told = rest.splitlines(keepends=True)
            stderr.write(b"".join(line for line in told if not NOISE.match(line)))
            is_cut = bool(told) and NOISE.match(told[-1]) is not None and told[-1][-1:] != b"\n"
