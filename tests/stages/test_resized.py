"""A manifest that resizes: sensors see the new pixels, labels and camera go along, `verify` reads them the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.manifest import parse_manifest
from depthforge.stages.prepare import make_source
from tests.stages.runs import TINY, run


def test_a_resized_run_carries_everything_in_the_new_size(tmp_path: Path) -> None:
    source = {**TINY["source"], "num_scenes": 1, "resize": {"width": 48, "height": 36}}
    manifest = parse_manifest(
        {**TINY, "source": source, "splits": {"train": 1.0}, "corpus": {"out": tmp_path / "corpus"}}, where="test"
    )
    assert run(manifest).num_frames == 4
    whole = make_source(parse_manifest({**TINY, "corpus": {"out": tmp_path / "other"}}, where="test").source)
    reader = CorpusReader(manifest.corpus.out)
    assert (reader.schema.height, reader.schema.width) == (36, 48)
    first = reader.read(0)
    ref = next(iter(whole.frames()))
    before = whole.read(ref, frozenset(whole.labels))
    np.testing.assert_allclose(first.clean_depth_m, before.depth_m[::2, ::2], atol=0.0005)
    np.testing.assert_array_equal(first.labels["instance"], before.labels["instance"][::2, ::2])
    np.testing.assert_allclose(first.labels["K"][:2], [[45, 0, 23.75], [0, 45, 17.75]])
    assert before.T_world_cam is not None
    np.testing.assert_array_equal(first.labels["T_world_cam"], before.T_world_cam)
    assert verify_corpus(manifest.corpus.out, source=make_source(manifest.source)).ok
