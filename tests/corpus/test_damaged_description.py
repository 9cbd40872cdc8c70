"""A corpus whose corpus.json is damaged: every reader says so and what to do, and it can be made anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from depthforge.corpus.datasets import CorpusDataset
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import CorpusError, DepthforgeError, IncompleteError, IntegrityError, MissingDataError
from tests.corpus.corpora import fill, make_info


def other_types(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "plan": "x"}).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:300],
    "empty": lambda _: b"",
    "no JSON": lambda _: b"hello",
    "a list": lambda _: b"[1]",
    "other types": other_types,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_description_is_named_and_the_corpus_can_be_made_anew(
    own_corpus: Path, tmp_path: Path, name: str
) -> None:
    path = own_corpus / "corpus.json"
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    info, plan_file = make_info(tmp_path, 22)
    for attempt in (lambda: CorpusInfo.load(own_corpus), lambda: resume(own_corpus, info, plan_file)):
        with pytest.raises(CorpusError, match=r"corpus.json (cannot be read|is not sound)") as caught:
            attempt()
        assert str(path) in (caught.value.where or "")
        assert "--overwrite" in (caught.value.remedy or "")
    resume(own_corpus, info, plan_file, overwrite=True)
    assert verify_corpus(own_corpus).ok


def test_every_field_that_is_not_sound_is_named(own_corpus: Path) -> None:
    path = own_corpus / "corpus.json"
    value = json.loads(path.read_bytes())
    del value["name"]
    path.write_text(json.dumps({**value, "plan": "x", "surprise": 1}))
    with pytest.raises(CorpusError, match="is not sound") as caught:
        CorpusInfo.load(own_corpus)
    for field in ("name: ", "plan: ", "surprise: "):
        assert field in str(caught.value.found)


def resume(root: Path, info: CorpusInfo, plan_file: Path, *, overwrite: bool = False) -> None:
    with open_for_writing(root, info, plan_file, overwrite=overwrite) as corpus:
        fill(corpus, (7,))
        corpus.finish()


@pytest.mark.parametrize(
    ("name", "damage", "error"),
    [
        ("index.parquet", None, IncompleteError),
        ("index.parquet", lambda content: content[:-9], IntegrityError),
        ("corpus.json", lambda content: content[:100], CorpusError),
        ("shards/train-000000.zarr/depth_noisy/c.0.0.0", None, MissingDataError),
        ("shards/train-000000.zarr/depth_noisy/c.0.0.0", lambda content: content[:-9], IntegrityError),
        ("shards/train-000000.zarr/depth_noisy/zarr.json", lambda content: b"{", CorpusError),
    ],
)
def test_training_on_it_ends_with_the_file_that_is_wrong(
    own_corpus: Path, name: str, damage: Callable[[bytes], bytes] | None, error: type[Exception]
) -> None:
    path = own_corpus / name
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error) as caught:
        list(map(CorpusDataset(own_corpus, "train").__getitem__, range(11)))
    assert isinstance(caught.value, DepthforgeError)
    assert Path(name).parent.name in str(caught.value.where)


def test_files_of_others_are_no_corpus(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/corpus.json").write_text("hello")
    with pytest.raises(CorpusError, match="other files and no corpus"):
        resume(tmp_path / "own", info, plan_file, overwrite=True)
