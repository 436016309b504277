"""A run launcher for one machine that notices when a run's process is gone.

Dagster's default launcher cannot tell, so after a power loss a run stays "started" and its
concurrency slots stay taken for ever. With the answer, run monitoring marks such a run
failed and run retries start it again. It asks the same question as a termination does,
through interfaces that Dagster does not promise: the version of Dagster is pinned, and a
test kills a real run.
"""

import time

import grpc
from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from clip_assets.orchestration import orphans

TIMEOUT_S = 10

AGAIN_S = 3.0
"""After which a run is asked for once more before it is given up."""


class LocalRunLauncher(DefaultRunLauncher):
    """The default launcher, and an answer to whether a run is still alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started the run."""
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return _executed_by_a_command(run)
        health = _asked(client, run)
        if health.status is WorkerStatus.FAILED:
            # A daemon that starts after a power loss looks at runs and at backfills in one moment;
            # a backfill that looks between a run's failure and the note that it will be retried
            # ends as failed.
            time.sleep(AGAIN_S)
            health = _asked(client, run)
        return health


def _asked(client: DagsterGrpcClient, run: DagsterRun) -> CheckRunHealthResult:
    request = CanCancelExecutionRequest(run_id=run.run_id)
    try:
        answer = client.can_cancel_execution(request, timeout=TIMEOUT_S)
        alive = deserialize_value(answer, CanCancelExecutionResult).can_cancel
    except DagsterUserCodeUnreachableError as error:
        if _is_busy(error):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its code server is gone")
    if alive:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")


def _executed_by_a_command(run: DagsterRun) -> CheckRunHealthResult:
    """A run that no launcher started: of ``clip-assets run`` or ``dagster asset materialize``."""
    if orphans.is_orphan(run):
        return CheckRunHealthResult(WorkerStatus.FAILED, "the command that executed it is gone")
    return CheckRunHealthResult(WorkerStatus.RUNNING)


def _is_busy(error: BaseException) -> bool:
    """Whether the server is there and only slow to answer."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and (
        getattr(cause, "code", lambda: None)() is grpc.StatusCode.DEADLINE_EXCEEDED
    )
