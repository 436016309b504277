"""A web server of its own process that serves a world's images and misbehaves like the real web.

It binds to the loopback interface only. See ``demo.answers`` for what it answers.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiohttp import web

from clip_assets.demo.answers import application
from clip_assets.errors import ConfigurationError

HOST = "127.0.0.1"
PARENT_CHECK_S = 0.5
STOP_WITHIN_S = 5.0


@contextmanager
def serving(folder: Path, port: int = 0) -> Generator[str]:
    """Serve ``folder`` from a process of its own and yield the base url.

    The process ends with the block, and by itself when this process dies in any other way.

    Raises:
        ConfigurationError: the server did not start, for example because ``port`` is taken.
    """
    command = [sys.executable, "-m", "clip_assets.demo.server", str(folder)]
    command += ["--port", str(port), "--parent", str(os.getpid())]
    # A session of its own: Ctrl-C reaches only this process, which then ends the server in order.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        base_url = process.stdout.readline().strip()
        if not base_url:
            raise ConfigurationError(
                f"port {port}",
                f"no web server for {folder}; its error is above",
                "a port that is free",
                "Name another.",
            )
        yield base_url
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def _serve(folder: Path, port: int, parent: int | None) -> None:
    """Serve until cancelled, or until ``parent`` is no longer this process's parent."""
    runner = web.AppRunner(application(folder), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        taken = runner.addresses[0][1]
        sys.stdout.write(f"http://{HOST}:{taken}\n")
        sys.stdout.flush()
        while parent is None or os.getppid() == parent:
            await asyncio.sleep(PARENT_CHECK_S)
    finally:
        await runner.cleanup()


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m clip_assets.demo.server",
        description="Serve the images of a demo world on the loopback interface, and misbehave.",
        epilog="Prints the base url. GET /requests.json tells how often each path was asked for.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a world: FOLDER/images/...")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--parent", type=int, help="stop when this is not the parent process")
    chosen = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(chosen.folder, chosen.port, chosen.parent))


if __name__ == "__main__":
    main()
