"""A corpus in an object store is the corpus that a folder gets, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch.utils.data import DataLoader

from depthforge.corpus.datasets import CorpusDataset, CorpusStream
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.manifest_file import load_manifest
from depthforge.storage import ObjectStorage, open_storage
from tests.stages.runs import TINY, contents, run
from tests.storage.faulty_proxy import running_proxy
from tests.storage.object_server import ObjectServer


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five small shards, and the corpus that it makes in a folder."""
    folder = tmp_path_factory.mktemp("manifest")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "corpus": {"out": str(folder / "local"), "shard_frames": 3}}))
    run(load_manifest(path))
    return path


@pytest.fixture
def local(manifest: Path) -> dict[str, bytes]:
    return contents(manifest.parent / "local")


def objects(url: str) -> dict[str, bytes]:
    storage = open_storage(url)
    return {each.name: storage.read(each.name) for each in storage.objects(with_strays=True)}


def everything(url: str) -> set[str]:
    """Return the names of all objects, locks and tickets included."""
    return {each.name for each in ObjectStorage(url)._everything("")}


def synthesize(manifest: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "depthforge", "synthesize", str(manifest), "--inline", "--out", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_it_is_byte_for_byte_that_of_a_folder(
    manifest: Path, local: dict[str, bytes], bucket: str, depthforge: Any
) -> None:
    outcome = depthforge("synthesize", manifest, "--inline", "--out", bucket)
    assert outcome.code == 0, outcome.err
    assert f"corpus   {bucket}\n" in outcome.out
    assert objects(bucket) == local
    assert everything(bucket) == set(local), "a lock, a ticket or a part of something stayed"
    assert depthforge("verify", bucket).code == 0
    assert "12 frames of 96x72, finished" in depthforge("inspect", bucket).out
    assert depthforge("rejects", bucket).code == 0
    again = depthforge("synthesize", manifest, "--inline", "--out", bucket)
    assert (again.code, "nothing to do" in again.out) == (0, True)


def test_a_report_goes_into_it(manifest: Path, bucket: str, depthforge: Any) -> None:
    assert depthforge("convert", manifest, "--inline", "--out", bucket).code == 0
    outcome = depthforge("report", bucket)
    assert outcome.code == 0, outcome.err
    assert f"{bucket}/report/index.html" in outcome.out
    assert open_storage(bucket).read("report/index.html").startswith(b"<!DOCTYPE html>")
    assert depthforge("verify", bucket).code == 0


def test_overwriting_keeps_the_old_one_until_the_new_one_is_whole(
    manifest: Path, local: dict[str, bytes], bucket: str, depthforge: Any
) -> None:
    assert depthforge("convert", manifest, "--inline", "--out", bucket, "--seed", "7").code == 0
    other = depthforge("convert", manifest, "--inline", "--out", bucket)
    assert other.code == 3, "a corpus of another seed"
    assert "--overwrite" in other.err
    assert depthforge("convert", manifest, "--inline", "--out", bucket, "--overwrite").code == 0
    assert objects(bucket) == local


@pytest.mark.slow
@pytest.mark.parametrize("after_shards", [0, 2])
def test_a_killed_run_is_gone_on_with(manifest: Path, local: dict[str, bytes], bucket: str, after_shards: int) -> None:
    storage = open_storage(bucket)
    process = synthesize(manifest, bucket)
    wait_for(lambda: storage.exists(".lock") and len(storage.children("index")) >= after_shards, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    verdict = verify_corpus(bucket) if storage.exists("corpus.json") else None
    assert verdict is None or not verdict.ok
    again = synthesize(manifest, bucket)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert objects(bucket) == local
    assert everything(bucket) == set(local)
    assert verify_corpus(bucket).ok


@pytest.mark.slow
def test_of_two_drivers_one_makes_it_and_the_other_is_told(
    manifest: Path, local: dict[str, bytes], bucket: str
) -> None:
    first, second = synthesize(manifest, bucket), synthesize(manifest, bucket)
    outcomes = [(*process.communicate(timeout=120), process.returncode) for process in (first, second)]
    codes = sorted(code for _, _, code in outcomes)
    assert codes in ([0, 5], [0, 0]), outcomes  # 0, 0 where one began after the other had ended
    for _, err, code in outcomes:
        if code == 5:
            assert "another run is writing this corpus" in err
            assert "its lock is free 60 s after" in err
    assert objects(bucket) == local


@pytest.mark.slow
@pytest.mark.ray
def test_workers_on_ray_write_to_it(manifest: Path, local: dict[str, bytes], bucket: str) -> None:
    command = [sys.executable, "-m", "depthforge", "convert", str(manifest), "--workers", "2", "--out", bucket]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert objects(bucket) == local


def test_an_attempt_that_died_in_the_upload_leaves_nothing_in_the_next(bucket: str) -> None:
    storage = open_storage(bucket)
    for name in ("depth_noisy/c.0.0.0", "rgb/c.0.0.0.0", "rgb/zarr.json"):
        storage.write(f"shards/a.zarr/{name}", b"of an earlier attempt")
    staged = storage.stage("shards/a.zarr")
    staged.write("depth_noisy/c.0.0.0", b"new")
    staged.publish()
    assert objects(bucket) == {"shards/a.zarr/depth_noisy/c.0.0.0": b"new"}


def test_a_late_writer_that_drops_its_group_touches_no_other(bucket: str) -> None:
    storage = open_storage(bucket)
    late = storage.stage("shards/a.zarr")
    late.write("x", b"late")
    first = storage.stage("shards/a.zarr")
    first.write("x", b"first")
    first.publish()
    late.drop()
    assert objects(bucket) == {"shards/a.zarr/x": b"first"}


def test_forked_loader_workers_read_it(manifest: Path, bucket: str, tmp_path: Path) -> None:
    run(load_manifest(manifest).overridden(out=bucket))
    here = CorpusDataset(manifest.parent / "local", "train")
    there = CorpusDataset(bucket, "train", cache_dir=tmp_path / "cache")
    assert there[0]["key"] == here[0]["key"], "the parent reads before it forks"
    loader = DataLoader(there, batch_size=2, num_workers=2, collate_fn=there.collate, multiprocessing_context="fork")
    found = [sample for batch in loader for sample in batch["depth_noisy"].numpy()]
    for position, depth in enumerate(found):
        np.testing.assert_array_equal(depth, here[position]["depth_noisy"])
    assert len(found) == len(here)


@pytest.mark.parametrize("shuffle", ["none", "blocks", "full"])
def test_a_stream_gives_what_a_folder_gives(manifest: Path, bucket: str, tmp_path: Path, shuffle: Any) -> None:
    run(load_manifest(manifest).overridden(out=bucket))
    common: dict[str, Any] = {"seed": 1, "rank": 0, "world_size": 1, "batch_size": 3, "shuffle": shuffle}
    here = list(CorpusStream(manifest.parent / "local", "train", **common))
    for cache_bytes in (2**30, 0):
        there = list(CorpusStream(bucket, "train", **common, cache_dir=tmp_path, cache_bytes=cache_bytes))
        assert [batch["key"] for batch in there] == [batch["key"] for batch in here]
        for ours, theirs in zip(there, here, strict=True):
            np.testing.assert_array_equal(ours["depth_noisy"], theirs["depth_noisy"])


def test_a_warm_cache_asks_the_store_for_nothing_of_a_shard(
    manifest: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(load_manifest(manifest).overridden(out=bucket))
    cold = CorpusReader(bucket, cache_dir=tmp_path)
    frames = [cold.read(position) for position in range(len(cold))]
    warm = CorpusReader(bucket, cache_dir=tmp_path)
    keys = warm.keys.to_pylist()
    has = [warm.has(name, 0) for name in warm.index.table(["key"]).column_names if name in warm.schema.fields]
    assert has == []
    monkeypatch.setattr("depthforge.storage.object_client._opened", lambda *a: pytest.fail("a request"))
    monkeypatch.setattr(
        "depthforge.storage.cached_objects.CachedObjects.fetch", lambda *a: pytest.fail("a request for a block")
    )
    monkeypatch.setattr(
        "depthforge.storage.cached_objects.CachedObjects.fetch_end", lambda *a: pytest.fail("a request for an end")
    )
    for position, frame in enumerate(frames):
        assert keys[position] == frame.key
        np.testing.assert_array_equal(warm.read(position).clean_depth_m, frame.clean_depth_m)


def test_a_corpus_that_is_made_anew_is_not_read_from_the_old_ones_cache(
    manifest: Path, bucket: str, tmp_path: Path
) -> None:
    run(load_manifest(manifest).overridden(out=bucket, seed=1))
    before = CorpusReader(bucket, cache_dir=tmp_path).read(0)
    run(load_manifest(manifest).overridden(out=bucket, seed=2), overwrite=True)
    after = CorpusReader(bucket, cache_dir=tmp_path).read(0)
    assert (before.noisy_depth_m != after.noisy_depth_m).any()


def test_a_corpus_says_nothing_of_credentials(manifest: Path, bucket: str) -> None:
    run(load_manifest(manifest).overridden(out=bucket))
    for name, content in objects(bucket).items():
        for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
            assert os.environ[variable].encode() not in content, name


def test_no_output_says_a_credential(manifest: Path, bucket: str) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"][::-1]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "a-token-that-is-secret-too"}
    for command in (("verify", bucket), ("convert", str(manifest), "--inline", "--out", bucket)):
        for option in ("--debug", "--json"):
            done = subprocess.run(
                [sys.executable, "-m", "depthforge", *command, option], capture_output=True, text=True, env=environment
            )
            assert done.returncode != 0
            assert "does not let us in" in done.stdout + done.stderr
            for hidden in (secret, "a-token-that-is-secret-too", "Signature=", "Credential="):
                assert hidden not in done.stdout + done.stderr


def test_opening_takes_five_requests_and_a_field_of_a_shard_two_more(
    manifest: Path, bucket: str, tmp_path: Path, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(load_manifest(manifest).overridden(out=bucket))
    with running_proxy(object_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        reader = CorpusReader(bucket, cache_dir=tmp_path)
        assert proxy.num_requests == 5
        reader.read(0, labels=[])
        assert proxy.num_requests == 5 + 1 + 2 * 2, "the group, and of both depths what they are and their end"
        reader.read(1, labels=[])
        assert proxy.num_requests == 10
        CorpusReader(bucket, cache_dir=tmp_path).read(2, labels=[])
        assert proxy.num_requests == 15
