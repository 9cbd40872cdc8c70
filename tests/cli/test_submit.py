"""A manifest as a Ray job: on a real head through its Jobs API, and what is refused before one is asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread, Timer
from typing import Any, Self

import click
import pytest
import yaml

from depthforge.cli.submit import command, job_address, job_environment
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import InputError
from depthforge.stages.jobs import HeadUnreachableError, Jobs, entry_point, exit_code
from tests.conftest import REPOSITORY
from tests.heads import Head, end_family, environment


class Forwarder:
    """Passes connections on to a head, and cuts them when told to."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._live: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no connection any more, and break those that there are."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Break every connection that there is; return how many."""
        broken, self._live = self._live, []
        for each in broken:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        return len(broken) // 2

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self._listener.accept()[0], socket.create_connection(self._target)
                self._live += [near, far]
                for pair in ((near, far), (far, near)):
                    Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(2**16):
                sink.sendall(block)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


SOURCE = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 4, "width": 64, "height": 48}


def write(folder: Path, name: str = "tiny.yaml", **fields: Any) -> Path:
    value = {
        "name": "tiny",
        "source": SOURCE,
        "translator": {"name": "identity"},
        "corpus": {"out": str(folder / "corpus"), "shard_frames": 2},
        **fields,
    }
    path = folder / name
    path.write_text(yaml.safe_dump(value))
    return path


def launch(*arguments: str, cwd: Path, **more: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "depthforge", "submit", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        line,
        cwd=cwd,
        env=environment(REPOSITORY, **more),
        stdout=pipe,
        stderr=pipe,
        text=True,
        # A shell starts what runs in its background deaf to SIGINT, and the tests may be such a command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    process = launch(*arguments, cwd=cwd, **more)
    stdout, stderr = process.communicate(timeout=200)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.mark.slow
@pytest.mark.ray
def test_a_job_ends_in_a_verified_corpus(head: Head, tmp_path: Path) -> None:
    """Options, variables of the environment and the log go there and back; the threads of workers stay ours."""
    write(tmp_path, corpus={"out": "${OUT}/corpus", "shard_frames": 2})
    more = ["--env", f"OUT={tmp_path}", "--env", "OMP_NUM_THREADS", "--", "--limit", "4", "--seed", "3"]
    done = run("tiny.yaml", *more, cwd=tmp_path, RAY_API_SERVER_ADDRESS=head.jobs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made 4 frames in 2 shards" in done.stdout
    verdict = verify_corpus(tmp_path / "corpus", deep=True)
    assert verdict.ok, verdict.problems
    assert len(list((tmp_path / "corpus" / "index").glob("*.parquet"))) == 2


@pytest.mark.slow
@pytest.mark.ray
def test_the_exit_code_of_depthforge_comes_through(head: Head, tmp_path: Path) -> None:
    write(tmp_path, source={"name": "interiornet", "root": str(tmp_path / "nowhere")})
    done = run("tiny.yaml", "--address", head.jobs, cwd=tmp_path, RAY_ADDRESS="192.0.2.1:6379")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no InteriorNet frames" in done.stdout
    assert not (tmp_path / "corpus").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_an_ended_command_stops_its_job(head: Head, tmp_path: Path) -> None:
    from ray.job_submission import JobSubmissionClient

    write(tmp_path, source={**SOURCE, "frames_per_scene": 4000}, corpus={"out": str(tmp_path / "c"), "shard_frames": 2})
    process = launch("tiny.yaml", "--address", head.jobs, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 100
        while not list((tmp_path / "c").glob("index/*.parquet")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    finally:
        end_family(process)
    assert process.returncode == 143, stderr
    job = next(line.split()[1].rstrip(":") for line in stderr.splitlines() if line.startswith("job "))
    assert f"job {job} has ended: STOPPED" in stderr
    assert "run the same command again" in stderr
    assert JobSubmissionClient(head.jobs).get_job_status(job).value == "STOPPED"
    kept = len(list((tmp_path / "c").glob("index/*.parquet")))
    time.sleep(1.0)
    assert len(list((tmp_path / "c").glob("index/*.parquet"))) == kept < 2000, "the stopped job goes on"


@pytest.mark.slow
@pytest.mark.ray
def test_a_job_that_is_left_goes_on_and_is_followed_again(head: Head, tmp_path: Path) -> None:
    write(tmp_path, source={**SOURCE, "frames_per_scene": 200}, translator={"name": "simulation"})
    process = launch("tiny.yaml", "--address", head.jobs, "--on-interrupt", "leave", cwd=tmp_path)
    try:
        wait_for_a_shard(tmp_path / "corpus", process)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        end_family(process)
    assert process.returncode == 130, stderr
    job = next(line.split()[1].rstrip(":") for line in stderr.splitlines() if line.startswith("job "))
    assert f"job {job} goes on; to follow it again: depthforge submit --follow {job}" in stderr
    done = run("--follow", job, "--address", head.jobs, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("made 200 frames in 100 shards") == 1
    unknown = run("--follow", "raysubmit_none", "--address", head.jobs, cwd=tmp_path)
    assert unknown.returncode == 3
    assert "the head knows no such job" in unknown.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_a_lost_connection_loses_no_line_of_the_log(head: Head, tmp_path: Path) -> None:
    write(tmp_path, source={**SOURCE, "frames_per_scene": 200}, translator={"name": "simulation"})
    with Forwarder(head.jobs) as between:
        process = launch("tiny.yaml", "--address", between.url, cwd=tmp_path)
        try:
            wait_for_a_shard(tmp_path / "corpus", process)
            assert between.cut() >= 1
            stdout, stderr = process.communicate(timeout=120)
        finally:
            end_family(process)
    assert process.returncode == 0, stdout + stderr
    assert stdout.count("made 200 frames in 100 shards") == 1


@pytest.mark.slow
@pytest.mark.ray
def test_a_head_that_is_gone_ends_the_following_and_the_job_is_named(head: Head, tmp_path: Path) -> None:
    with Forwarder(head.jobs) as between:
        jobs = Jobs(between.url)
        job = jobs.submit("sleep 60", tmp_path, {})
        closing = Timer(3.0, between.close)
        closing.start()
        with pytest.raises(HeadUnreachableError, match="answers no more") as caught:
            jobs.follow(job, lambda text: None, wait_s=0.1)
        closing.join()
    assert caught.value.exit_code == 5
    assert caught.value.where == job
    assert caught.value.remedy == f"depthforge submit --follow {job} --address {between.url}"
    said: list[str] = []
    Jobs(head.jobs).stop(job, said.append)
    assert said[-1] == f"job {job} has ended: STOPPED"


def wait_for_a_shard(out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while not list(out.glob("index/*.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_manifest_that_is_not_there_asks_no_head(tmp_path: Path) -> None:
    write(tmp_path, "demo.yaml")
    done = run("dmo.yaml", "--address", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 3
    assert "did you mean demo.yaml?" in done.stderr


def test_a_head_that_does_not_answer_is_one_message(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="the Jobs API needs ray[default]")
    write(tmp_path)
    done = run("tiny.yaml", "--address", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("error: no head answers\n  where:    http://127.0.0.1:9\n"), done.stderr
    assert "ray start --head" in done.stderr


def invoke(*arguments: str) -> None:
    command.main(list(arguments), standalone_mode=False)


def test_outputs_that_ray_would_delete_are_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, corpus={"out": "corpora/tiny"})
    with pytest.raises(InputError, match=r"corpus\.out is relative") as refused:
        invoke(str(manifest), "--address", "http://127.0.0.1:9", "--working-dir", str(tmp_path))
    assert refused.value.remedy == "-- --out /shared/corpora/tiny"


def test_a_manifest_outside_the_working_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    manifest = write(tmp_path)
    with pytest.raises(InputError, match="not in the working directory") as refused:
        invoke(str(manifest), "--address", "http://127.0.0.1:9", "--working-dir", str(tmp_path / "other"))
    assert refused.value.remedy == f"--working-dir {tmp_path}"


@pytest.mark.parametrize("arguments", [("--limit", "none"), ("--no-such-option",)])
def test_options_of_synthesize_are_checked_here(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        invoke(str(write(tmp_path)), "--address", "http://127.0.0.1:9", "--working-dir", str(tmp_path), *arguments)


def test_the_address_is_that_of_a_dashboard() -> None:
    both = {"RAY_API_SERVER_ADDRESS": "http://a:1/", "RAY_ADDRESS": "http://b:2"}
    assert job_address("https://c:3", both) == "https://c:3"
    assert job_address(None, both) == "http://a:1"
    assert job_address(None, {"RAY_ADDRESS": "http://b:2"}) == "http://b:2"
    for environ in ({}, {"RAY_ADDRESS": "b:6379"}):
        with pytest.raises(click.UsageError, match="ray start --head"):
            job_address(None, environ)


def test_variables_come_from_here_or_from_the_option() -> None:
    assert job_environment(["A", "B=", "C=x=y"], {"A": "1", "B": "2"}) == {"A": "1", "B": "", "C": "x=y"}
    with pytest.raises(click.UsageError, match="--env D"):
        job_environment(["D"], {"A": "1"})


def test_the_entry_point_is_quoted_for_a_shell() -> None:
    line = entry_point(Path("my manifests/a.yaml"), ("--out", "/x/$HOME"))
    assert line == "python -m depthforge synthesize 'my manifests/a.yaml' --address auto --out '/x/$HOME'"


def test_only_the_code_of_a_driver_that_ended_by_itself_is_passed_on() -> None:
    codes = [exit_code("SUCCEEDED", 0), exit_code("FAILED", 4), exit_code("FAILED", None), exit_code("FAILED", -9)]
    assert codes == [0, 4, 5, 5]
    assert os.WEXITSTATUS(exit_code("STOPPED", None) << 8) == 5
