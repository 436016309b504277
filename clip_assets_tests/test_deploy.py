"""The instance of deploy/dagster.yaml, on a PostgreSQL server and an emulated bucket."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType

from clip_assets.orchestration.launcher import LocalRunLauncher
from clip_assets_tests import servers
from clip_assets_tests.pools import CHECKOUT
from clip_assets_tests.servers import Relay

PASSWORD = "p@ss/w%rd"  # has what urls and configuration files treat as special


def postgres_command(name: str) -> Path:
    """A command of PostgreSQL's server; Debian keeps them off the path, one folder a version."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=version)
    found = str(debian[-1]) if debian else shutil.which(name)
    if not found:
        pytest.fail("PostgreSQL's server is missing; as root, run: make system")
    return Path(found)


def version(command: Path) -> int:
    return int(command.parts[-3])


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server in a folder; as root it runs as nobody, because it refuses root."""

    folder: Path
    port: int

    def run(self, name: str, *arguments: str) -> None:
        user: dict[str, Any] = {}
        if os.getuid() == 0:
            group = pwd.getpwnam("nobody").pw_gid
            user = {"user": "nobody", "group": group, "extra_groups": []}
        command = [postgres_command(name), "-D", self.folder / "data", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **user
        )
        assert done.returncode == 0, done.stderr.decode() + self.log

    @property
    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text() if file.is_file() else ""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on loopback that asks for a password, in a folder which its user can reach."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        found = Server(Path(name), port)
        (found.folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            shutil.chown(found.folder, "nobody")
            shutil.chown(found.folder / "password", "nobody")
        found.run(
            "initdb", "--username=clip", "--pwfile=password", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        options = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        found.run("pg_ctl", "start", "--wait", "--log=log", f"--options={options}")
        yield found
        found.run("pg_ctl", "stop", "--wait", "--mode=fast")  # the process that its pid file names


@pytest.fixture
def home(
    server: Server, relays: dict[str, Relay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that holds the file, and the environment that it names."""
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(server.port))
    monkeypatch.setenv("PGDATABASE", "postgres")
    monkeypatch.setenv("PGUSER", "clip")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("DAGSTER_LOG_BUCKET", servers.BUCKET)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", relays["gs"].url)
    shutil.copy(CHECKOUT / "deploy/dagster.yaml", tmp_path)
    return tmp_path


@dg.asset
def counted() -> dg.MaterializeResult:
    sys.stdout.write("counting\n")
    return dg.MaterializeResult(metadata={"rows": 3})


@pytest.mark.slow  # with it, only the slow tests need a server
def test_a_run_its_events_and_its_output_are_read_back(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        with capfd.disabled():  # Dagster takes the same file descriptor
            run_id = dg.materialize([counted], instance=instance).run_id
    with dg.DagsterInstance.from_config(str(home)) as again:
        run = again.get_run_by_id(run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS
        event = again.get_latest_materialization_event(dg.AssetKey("counted"))
        assert event is not None
        assert event.run_id == run_id
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["rows"].value == 3
        captured = again.get_records_for_run(run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
        step = captured.records[0].event_log_entry.get_dagster_event().logs_captured_data.file_key
        log_key = [run_id, "compute_logs", step]
        assert again.compute_log_manager.cloud_storage_has_logs(log_key, ComputeIOType.STDOUT)
