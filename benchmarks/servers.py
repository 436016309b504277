"""Web servers that are measured: started, waited for, weighed and ended."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_S = 300


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Args:
        url: of it.
        pid: of its first process; its children serve, too.
        start_s: from its start to its first right answer.
    """

    url: str
    pid: int
    start_s: float

    @property
    def memory_mib(self) -> float:
        """Of all its processes; what they share is counted once."""
        return sum(_memory_kib(pid) for pid in family(self.pid)) / 1024

    @property
    def cpu_s(self) -> float:
        """Time on a processor of all its processes that live."""
        return sum(_cpu_ticks(pid) for pid in family(self.pid)) / 100


@contextmanager
def running(
    command: Sequence[object], port: int, probe: bytes, path: str, log: Path, **further: str
) -> Generator[Server]:
    """Run a server for the time of the block.

    Args:
        command: that starts it.
        port: that it then listens on.
        probe: body of a POST that it answers with 200 when it is ready.
        path: of that POST.
        log: gets what it says.
        further: variables of its environment.
    """
    import os

    began_s = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=file, stderr=file, env=os.environ | further
        )
        try:
            url = f"http://127.0.0.1:{port}"
            while not _answers(url + path, probe):
                if process.poll() is not None or time.monotonic() - began_s > READY_S:
                    raise SystemExit(f"{command[0]} does not serve:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
            yield Server(url, process.pid, round(time.monotonic() - began_s, 1))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def _answers(url: str, body: bytes) -> bool:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status == 200
    except OSError:
        return False


def _memory_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu_ticks(pid: int) -> int:
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(told[11]) + int(told[12])
