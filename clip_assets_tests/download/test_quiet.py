import os
import subprocess
import sys

import pytest

SCRIPT = """
import faulthandler, io, logging, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from clip_assets.download.quiet import quiet_decoders
from clip_assets.download.resize import ImageResizer
from clip_assets.settings import Download

body = io.BytesIO()
Image.effect_noise((600, 500), 50).save(body, "JPEG")
jpeg = body.getvalue()
broken = [jpeg[:4000] + bytes(500) + jpeg[4500:], jpeg[: len(jpeg) // 2], jpeg[:-2]]
body = io.BytesIO()
Image.effect_noise((60, 50), 50).save(body, "PNG", icc_profile=b"no profile")
broken += [body.getvalue(), body.getvalue()[:900], b"II*\\0" + bytes(40)]
resize, pair = ImageResizer(Download()), {"face_bboxes": None}

def decode(body):
    with quiet_decoders:
        resize(body, pair)
        logging.error("ours")

def run():
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(decode, broken * 20))

if sys.argv[1] == "quiet":
    with quiet_decoders:
        run()
        print("partial", end="", file=sys.stderr, flush=True)
        subprocess.run(["sh", "-c", "echo child >&2"])
    run()
    print("after", file=sys.stderr)
else:
    for body in broken:
        resize(body, pair)
"""


def stderr_of(how):
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True)
    return done.stderr.decode()


def test_broken_images_print_nothing_and_all_else_is_passed_on():
    lines = stderr_of("quiet").splitlines()

    assert lines.count("ERROR:root:ours") == 240
    assert [line for line in lines if line != "ERROR:root:ours"] == ["partialchild", "after"]


def test_without_it_decoders_are_heard():
    assert "Corrupt JPEG data" in stderr_of("loud")


def test_stderr_is_what_it_was(tmp_path):
    from clip_assets.download.quiet import quiet_decoders

    def fail() -> None:
        with quiet_decoders:
            assert os.fstat(2) != before
            raise ZeroDivisionError

    before = os.fstat(2)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.fstat(2) == before
