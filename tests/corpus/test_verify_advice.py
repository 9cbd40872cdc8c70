"""Advice of `verify` cures what it was given for: each damage, the advice carried out to the letter, whole again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from depthforge.corpus.store import open_for_writing
from depthforge.corpus.verify import VerifyReport, verify_corpus
from tests.corpus.corpora import fill, make_info
from tests.corpus.test_verify import change_index, forge_sums

Damage = Callable[[Path], object]


def run_again(root: Path, folder: Path, *, overwrite: bool = False) -> None:
    """What `synthesize` does where SHA256SUMS says that the corpus is finished: nothing; else what is pending."""
    if (root / "SHA256SUMS").exists() and not overwrite:
        return
    info, plan_file = make_info(folder, 22)
    with open_for_writing(root, info, plan_file, overwrite=overwrite) as corpus:
        fill(corpus, (7,))
        corpus.finish()


def follow(report: VerifyReport, root: Path, folder: Path, whole: Path) -> None:
    """Do what the lines that begin with "to mend" say, and nothing else."""
    told = [line.partition("to mend: ")[2] for line in report.lines() if "to mend: " in line]
    assert told, report.lines()
    for line in told:
        if line.startswith("move what is not of this corpus"):
            for name in {problem.where for problem in report.problems if problem.mend == "move away"}:
                (root / name).rename(folder / Path(name).name)
            continue
        if line.startswith("bring corpus.json and plan/ back"):
            shutil.copy(whole / "corpus.json", root / "corpus.json")
            shutil.copytree(whole / "plan", root / "plan", dirs_exist_ok=True)
            continue
        for name in re.findall(r"SHA256SUMS|index/[\w-]+\.parquet", line):
            (root / name).unlink(missing_ok=True)
        assert "run the conversion again" in line, line
        run_again(root, folder)


def chunk_of(root: Path, shard: str) -> Path:
    return max((root / f"shards/{shard}.zarr/depth_clean").rglob("*"), key=lambda path: path.stat().st_size)


def damage(change: Callable[[bytes], bytes], name: str) -> Damage:
    def apply(root: Path) -> None:
        path = chunk_of(root, "train-000001") if name == "chunk" else root / name
        path.write_bytes(change(path.read_bytes()))

    return apply


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def remove(name: str) -> Damage:
    def apply(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def put(name: str) -> Damage:
    def apply(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"somebody else's")

    return apply


def foreign_part(root: Path) -> None:
    path = root / "index/train-000001.parquet"
    table = pq.read_table(path)
    footer = table.schema.metadata[b"depthforge"].replace(b'"fingerprint": "', b'"fingerprint": "00')
    pq.write_table(table.replace_schema_metadata({b"depthforge": footer}), path)


def fewer_rows(root: Path) -> None:
    change_index(root, "train-000001", lambda rows: rows[:-1])
    forge_sums(root)


DAMAGES: dict[str, Damage] = {
    "a shard is gone": remove("shards/train-000001.zarr"),
    "a chunk is cut": damage(half, "chunk"),
    "a chunk is changed": damage(flipped, "chunk"),
    "a chunk is gone": lambda root: chunk_of(root, "train-000001").unlink(),
    "a file too many among the arrays": put("shards/train-000001.zarr/depth_clean/c/999/0/0"),
    "a file too many in the index": put("index/mine.parquet"),
    "a file too many in the rejects": put("rejects/notes.txt"),
    "an index part is gone": remove("index/train-000001.parquet"),
    "an index part is cut": damage(half, "index/train-000001.parquet"),
    "an index part is changed": damage(flipped, "index/train-000001.parquet"),
    "an index part is empty": damage(lambda _: b"", "index/train-000001.parquet"),
    "an index part is of another corpus": foreign_part,
    "an index part with a row less": fewer_rows,
    "rejects are gone": remove("rejects"),
    "the index of the whole is gone": remove("index.parquet"),
    "the index of the whole is cut": damage(half, "index.parquet"),
    "checksums are gone": remove("SHA256SUMS"),
    "checksums are cut": damage(half, "SHA256SUMS"),
    "checksums are empty": damage(lambda _: b"", "SHA256SUMS"),
    "the card is changed": damage(flipped, "README.md"),
    "the description of the whole is cut": damage(half, "corpus.json"),
    "corpus.json is gone": remove("corpus.json"),
    "corpus.json is empty": damage(lambda _: b"", "corpus.json"),
    "corpus.json is a list": damage(lambda _: b"[]", "corpus.json"),
    "the plan is gone": remove("plan"),
    "the plan is cut": damage(half, "plan/frames.parquet"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_advice_cures_the_damage(name: str, own_corpus: Path, corpus: Path, tmp_path: Path) -> None:
    DAMAGES[name](own_corpus)
    report = verify_corpus(own_corpus)
    assert not report.ok
    if not name.startswith("a file too many"):
        assert not [str(problem) for problem in report.problems if problem.mend == "move away"]
    follow(report, own_corpus, tmp_path, corpus)
    after = verify_corpus(own_corpus)
    assert after.ok, [*report.lines(), "after the advice", *after.lines()]
