"""A corpus that is made anew in place: the old one stays until the new one is whole, wherever the run is killed."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.store import CorpusTotals, open_for_writing
from depthforge.corpus.verify import verify_corpus
from tests.corpus.corpora import build, files_of, fill, make_info, write_shard


def test_overwrite_replaces_a_corpus_and_keeps_what_is_not_ours(tmp_path: Path) -> None:
    root = build(tmp_path)
    (root / "notes.txt").write_text("mine")
    info, plan_file = make_info(tmp_path, 4, seed=2)
    with open_for_writing(root, info, plan_file, overwrite=True) as corpus:
        assert corpus.totals() == CorpusTotals(0, 0, 0, 0)
        fill(corpus)
        corpus.finish()
        assert corpus.totals().num_frames == 4
        assert len(CorpusReader(root)) == 21, "the old one is there until the new one is whole"
    assert (root / "notes.txt").read_text() == "mine"
    assert len(list((root / "shards").iterdir())) == 1
    assert len(CorpusReader(root)) == 4
    assert verify_corpus(root).ok
    assert not (root / ".replacement").exists()


def test_an_overwriting_that_is_cut_off_keeps_the_old_corpus_and_goes_on(tmp_path: Path) -> None:
    root = build(tmp_path)
    before = files_of(root)
    info, plan_file = make_info(tmp_path, 12, seed=2)
    with open_for_writing(root, info, plan_file, overwrite=True) as corpus:
        item = next(iter(corpus.pending()))
        schema = corpus.info.corpus_schema
        write_shard(corpus.storage, item, schema, fingerprint=corpus.info.fingerprint, rejected=())
    kept = {name: content for name, content in files_of(root).items() if not name.startswith(".replacement/")}
    assert kept == before
    assert verify_corpus(root).ok
    with open_for_writing(root, info, plan_file, overwrite=True) as corpus:
        assert corpus.totals().num_frames > 0, "what was committed is gone on with"
        fill(corpus)
        corpus.finish()
    assert CorpusReader(root).info.fingerprint == info.fingerprint
    # Another corpus begins anew, and not with what was left of this one.
    other, plan_file = make_info(tmp_path, 4, seed=3)
    with open_for_writing(root, info, plan_file, overwrite=True) as corpus:
        write_shard(corpus.storage, item, schema, fingerprint=corpus.info.fingerprint, rejected=())
    with open_for_writing(root, other, plan_file, overwrite=True) as corpus:
        assert corpus.totals().num_frames == 0


def test_a_replacement_that_was_killed_after_it_took_its_place_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker is the last to go, and says nothing against what has taken its place."""
    root = build(tmp_path)
    info, plan_file = make_info(tmp_path, 4, seed=2)
    with open_for_writing(root, info, plan_file, overwrite=True) as corpus:
        fill(corpus)
        corpus.finish()
    before = files_of(root)
    (root / ".replacement-is-whole").write_bytes(b"")
    with open_for_writing(root, info, plan_file) as corpus:
        assert corpus.is_finished
    assert files_of(root) == before


@pytest.mark.parametrize("moved", [0, 1, 3, 99])
@pytest.mark.parametrize("is_removed", [False, True])
def test_a_replacement_that_was_killed_as_it_took_its_place_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int, is_removed: bool
) -> None:
    root = build(tmp_path)
    info, plan_file = make_info(tmp_path, 4, seed=2)
    count = 0
    rename = os.replace

    def dying(source: Any, target: Any) -> None:
        nonlocal count
        takes_its_place = Path(source).parent.name == ".replacement" and Path(target).parent == root
        if takes_its_place and count == moved:
            raise KeyboardInterrupt
        count += takes_its_place
        rename(source, target)

    def dies() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("depthforge.storage.local.os.replace", dying)
        if not is_removed:
            patch.setattr("depthforge.corpus.store._remove_corpus", lambda storage: dies())
        with (
            pytest.raises(KeyboardInterrupt) if moved < 99 or not is_removed else nullcontext(),
            open_for_writing(root, info, plan_file, overwrite=True) as corpus,
        ):
            fill(corpus)
            corpus.finish()
    with open_for_writing(root, info, plan_file) as corpus:
        assert corpus.is_finished
    assert verify_corpus(root).ok
    assert CorpusReader(root).info.fingerprint == info.fingerprint
    assert not (root / ".replacement").exists()
