"""A process that had a model ends without a word."""

import os
import subprocess
import sys
from pathlib import Path

from clip_assets import layout

SCRIPT = """
import sys
import clip_assets.definitions
from clip_assets import graph
from clip_assets.storage import sql

pool = graph.open_pool(sys.argv[1], create=True)
with sql.connection(1 << 28) as database:
    print(pool.encoder().dim, database.execute("SELECT 1").fetchall())
"""


def test_a_process_with_definitions_a_model_and_a_database_ends_in_silence(tmp_path: Path) -> None:
    (tmp_path / layout.SETTINGS_FILE).write_text("inference: {model: demo}\ndevices: none\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLIP_ASSETS_")}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )

    assert done.stdout.endswith("[(1,)]\n")
    assert done.stderr == ""
