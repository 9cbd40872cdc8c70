"""A corpus that is finished is known by its own small files: nothing is listed, prepared or read for that."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from depthforge.cli.main import main
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import IntegrityError
from depthforge.frame import FrameRef
from depthforge.manifest import Manifest
from depthforge.sources.procedural import Procedural
from depthforge.stages.convert import finished
from tests.stages.runs import contents, run

Tiny = Callable[..., Manifest]


def no_listing(self: Procedural, *arguments: Any) -> Iterator[FrameRef]:
    raise AssertionError("the source is listed")


def test_it_is_told_from_the_corpus_alone(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tiny()
    assert finished(manifest) is None
    made = run(manifest)
    monkeypatch.setattr(Procedural, "frames", no_listing)
    report = finished(tiny(description="other words", max_reject_fraction=0.5))
    assert report is not None
    assert report.nothing_to_do
    names = ("out", "fingerprint", "num_frames", "num_rejects", "num_shards", "stored_bytes", "rejects_by_error")
    assert {name: getattr(report, name) for name in names} == {name: getattr(made, name) for name in names}
    assert (report.made_frames, report.made_shards) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"limit": 11},
        {"labels": {"rgb": "off"}},
        {"splits": {"train": 1.0}},
        {"corpus": {"codec": {"level": 2}}},
        {"translator": {"name": "identity"}},
    ],
    ids=str,
)
def test_of_another_manifest_it_is_not(tiny: Tiny, change: dict[str, Any]) -> None:
    run(tiny())
    assert finished(tiny(**change)) is None


@pytest.mark.parametrize(
    "gone", ["SHA256SUMS", "index.parquet", "corpus.json", "index/train-000000.parquet", "shards/train-000000.zarr"]
)
def test_what_is_gone_is_made_again(tiny: Tiny, gone: str) -> None:
    manifest = tiny()
    run(manifest)
    before = contents(manifest.corpus.out)
    path = manifest.corpus.out / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert finished(manifest) is None
    if gone == "corpus.json":
        return  # what is without it is nobody's corpus, and is refused
    run(manifest)
    assert contents(manifest.corpus.out) == before


def test_an_index_that_is_damaged_is_mended_as_the_error_says(tiny: Tiny) -> None:
    manifest = tiny()
    run(manifest)
    before = contents(manifest.corpus.out)
    (manifest.corpus.out / "index.parquet").write_bytes(before["index.parquet"][:-9])
    assert finished(manifest) is None
    with pytest.raises(IntegrityError, match="the index cannot be read") as caught:
        CorpusReader(manifest.corpus.out)
    assert "remove SHA256SUMS" in str(caught.value)
    (manifest.corpus.out / "SHA256SUMS").unlink()
    run(manifest)
    assert contents(manifest.corpus.out) == before


def test_a_shard_is_mended_as_verify_says_and_no_other_is_made(tiny: Tiny) -> None:
    manifest = tiny()
    run(manifest)
    before = contents(manifest.corpus.out)
    name = "shards/train-000000.zarr/depth_noisy/c.0.0.0"
    (manifest.corpus.out / name).write_bytes(before[name][::-1])
    (advice,) = (line for line in verify_corpus(manifest.corpus.out).lines() if "to mend" in line)
    assert "remove SHA256SUMS and index/train-000000.parquet, and run the conversion again" in advice
    for path in ("SHA256SUMS", "index/train-000000.parquet"):
        (manifest.corpus.out / path).unlink()
    assert run(manifest).made_shards == 1
    assert contents(manifest.corpus.out) == before


def test_a_run_that_goes_on_first_takes_back_that_the_corpus_is_finished(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tiny()
    run(manifest)
    (manifest.corpus.out / "index/train-000000.parquet").unlink()

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("depthforge.stages.convert.run_inline", killed)
    with pytest.raises(KeyboardInterrupt):
        run(manifest)
    assert not (manifest.corpus.out / "index.parquet").exists()
    assert not (manifest.corpus.out / "SHA256SUMS").exists()


def test_synthesize_says_so_without_a_look_at_the_source(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tiny()
    path = tmp_path / "tiny.yaml"
    path.write_text(manifest.model_dump_json())
    run(manifest)
    monkeypatch.setattr(Procedural, "frames", no_listing)
    with pytest.raises(SystemExit) as ended:
        main(["synthesize", str(path), "--inline"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert out.startswith(f"nothing to do: {manifest.corpus.out} is finished and was made from this manifest\n")
    assert "source   not listed again; depthforge verify --source compares it with the corpus" in out
