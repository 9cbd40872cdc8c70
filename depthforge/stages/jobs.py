"""A command as a job of a Ray cluster, by its Jobs API: submitted, followed to its end, stopped.

The head starts the command on its own node, so the driver sits in the cluster and whoever submits may be anywhere that
reaches the dashboard's port. Costs about 10 s over a driver of one's own. Needs ``ray[default]`` here and on the head.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from depthforge.errors import DepthforgeError, InputError, MissingDependencyError
from depthforge.stages.cluster import send_known_token

__all__ = ["HOW_TO_START", "HeadUnreachableError", "JobEnd", "Jobs", "entry_point", "exit_code"]

HOW_TO_START: Final = "ray start --head --disable-usage-stats --dashboard-host 0.0.0.0"
# A job is asked to end, and Ray kills it 3 s later; what takes longer is a head in trouble.
STOP_LIMIT_S: Final = 30.0
# Reconnections in a row without a new line of the log between them, 5 s apart.
MAX_RECONNECTIONS: Final = 12

Say = Callable[[str], None]


class HeadUnreachableError(DepthforgeError, ConnectionError):
    """The head's Jobs API does not answer, or answers with a refusal."""


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: Ray's word for it, the exit code to pass on, and Ray's message where the driver had no code."""

    status: str
    exit_code: int
    message: str | None


def entry_point(manifest: Path, options: Sequence[str]) -> str:
    """Return the shell command that the head runs; Ray sets RAY_ADDRESS for it, which ``auto`` follows."""
    words = ["python", "-m", "depthforge", "synthesize", manifest.as_posix(), "--address", "auto", *options]
    return shlex.join(words)


def exit_code(status: str, driver_exit_code: int | None) -> int:
    """Return the code to pass on: the driver's own, or 5 where it had none or died of a signal."""
    if status == "SUCCEEDED":
        return 0
    return driver_exit_code if driver_exit_code and driver_exit_code > 0 else 5


class Jobs:
    """The Jobs API of one head."""

    def __init__(self, url: str) -> None:
        """Connect to ``url``; raises HeadUnreachableError and MissingDependencyError."""
        send_known_token()
        try:
            from ray.exceptions import AuthenticationError
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise _no_api(error) from None
        if importlib.util.find_spec("aiohttp") is None:
            raise _no_api("aiohttp is not installed")
        # Ray lets both win over the address it is given.
        for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
            os.environ.pop(name, None)
        self.url = url
        try:
            self._client: Any = JobSubmissionClient(url)
        except AuthenticationError as error:
            raise HeadUnreachableError(
                "the head refuses this client",
                where=url,
                found=str(error).splitlines()[0],
                remedy="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the head, or copy its ~/.ray/auth_token",
            ) from None
        except (OSError, RuntimeError, ValueError) as error:  # requests' own errors are OSErrors
            raise HeadUnreachableError(
                "no head answers",
                where=url,
                found=error,
                remedy=f"give the head's dashboard as --address; a head starts with: {HOW_TO_START}",
            ) from None

    def submit(self, entrypoint: str, working_dir: Path, environment: Mapping[str, str]) -> str:
        """Have the head run ``entrypoint`` in its copy of ``working_dir``; return the job's id."""
        # What depthforge sets for its workers (one thread each) wins over --env; Ray would refuse the conflict.
        env_vars = {**environment, "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}
        try:
            job: str = self._client.submit_job(
                entrypoint=entrypoint, runtime_env={"working_dir": str(working_dir.resolve()), "env_vars": env_vars}
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(
                "the job was not taken",
                where=working_dir.resolve(),
                found=error,
                remedy="--working-dir DIR, a small folder",
            ) from None
        return job

    def follow(self, job: str, show: Say, *, wait_s: float = 5.0) -> JobEnd:
        """Give the log to ``show`` as it grows until ``job`` has ended; go on after a dropped connection.

        Raises HeadUnreachableError when the head does not answer for ``MAX_RECONNECTIONS`` times ``wait_s``, InputError
        when it knows no such job.
        """
        self._require(job)
        info = asyncio.run(self._follow(job, show, wait_s))
        code = exit_code(info.status.value, info.driver_exit_code)
        return JobEnd(info.status.value, code, info.message if info.driver_exit_code is None else None)

    def _require(self, job: str) -> None:
        try:
            self._client.get_job_info(job)
        except RuntimeError as error:
            if "404" not in str(error):
                raise
            raise InputError("the head knows no such job", where=job, found=self.url, remedy="ray job list") from None

    async def _follow(self, job: str, show: Say, wait_s: float) -> Any:
        shown = attempts = 0
        while True:
            seen = 0
            try:
                async for text in self._client.tail_job_logs(job):
                    new = text[max(shown - seen, 0) :]
                    seen += len(text)
                    if new:
                        show(new)
                        shown, attempts = seen, 0
                info = self._client.get_job_info(job)
                if info.status.is_terminal():
                    return info
                error: Exception | None = None
            except Exception as lost:  # those of two HTTP libraries, which share no class
                error = lost
            attempts += 1
            if attempts > MAX_RECONNECTIONS:
                raise HeadUnreachableError(
                    "the head answers no more; the job may go on without this command",
                    where=job,
                    found=error,
                    remedy=f"depthforge submit --follow {job} --address {self.url}",
                )
            await asyncio.sleep(wait_s / 25 if error is None else wait_s)

    def stop(self, job: str, say: Say) -> None:
        """Ask ``job`` to stop and wait until it has ended, at most ``STOP_LIMIT_S``."""
        say(f"asking job {job} to stop")
        deadline = time.monotonic() + STOP_LIMIT_S
        try:
            self._client.stop_job(job)
            while not (status := self._client.get_job_status(job)).is_terminal():
                if time.monotonic() > deadline:
                    say(f"job {job} is still {status.value}; see: ray job status {job}")
                    return
                time.sleep(0.2)
        except (OSError, RuntimeError) as error:
            say(f"job {job} could not be asked, it may go on: {error}")
            return
        say(f"job {job} has ended: {status.value}")


def _no_api(found: object) -> MissingDependencyError:
    return MissingDependencyError(
        "Ray's Jobs API cannot be imported", found=found, remedy="pip install 'depthforge[cluster]'"
    )
