"""New corpora of others' frames: the very chunks, an identity of their own, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from depthforge.cli.main import main
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.verify import verify_corpus
from depthforge.corpus.where import Where
from depthforge.encoding import Codec
from depthforge.errors import CorpusMismatchError, InputError, UnknownNameError
from depthforge.manifest import Manifest
from depthforge.stages.selecting import append_corpora, select_frames
from tests.corpus.corpora import FIELDS, HEIGHT, WIDTH, build, files_of
from tests.stages.runs import run

Tiny = Callable[..., Manifest]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("parent"))


def same_frames(new: CorpusReader, old: CorpusReader) -> None:
    for position in range(len(new)):
        key = new.key(position)
        at = old.position(key)
        for spec in new.schema.stored:
            assert new.has(spec.name, position) == old.has(spec.name, at)
            if new.has(spec.name, position):
                np.testing.assert_array_equal(new.stored(spec.name, position), old.stored(spec.name, at))


def test_what_is_selected_verifies_and_is_the_same_bit_for_bit(parent: Path, tmp_path: Path) -> None:
    before = files_of(parent)
    report = select_frames(parent, tmp_path / "new", where='has_rgb and scene in ("scene-00", "scene-02")', inline=True)
    old, new = CorpusReader(parent), CorpusReader(tmp_path / "new")
    expected = [key for key in old.keys.to_pylist() if int(key[-4:]) % 3 and "scene-01" not in key]
    assert sorted(new.keys.to_pylist()) == sorted(expected)
    assert report.num_frames == len(expected)
    same_frames(new, old)
    verdict = verify_corpus(tmp_path / "new")
    assert verdict.ok, verdict.lines()
    assert files_of(parent) == before
    assert new.fingerprint != old.fingerprint
    assert [each["fingerprint"] for each in new.info.manifest["made_from"]["parents"]] == [old.fingerprint]
    for position in range(len(new)):
        chain = json.loads(
            (tmp_path / "new" / "shards" / f"{new.index.place(position)[0]}.zarr/depth_noisy/zarr.json").read_text()
        )["codecs"][0]["configuration"]["codecs"]
        assert new.chunk("depth_noisy", position, chain) == old.chunk(
            "depth_noisy", old.position(new.key(position)), chain
        )


def test_a_selection_is_the_same_bytes_each_time_and_then_done(parent: Path, tmp_path: Path) -> None:
    for name in "ab":
        select_frames(parent, tmp_path / name, where="hole_fraction_noisy < 0.5", inline=True)
    drop = {"croissant.json", "SHA256SUMS"}  # the day of publication
    assert {k: v for k, v in files_of(tmp_path / "a").items() if k not in drop} == {
        k: v for k, v in files_of(tmp_path / "b").items() if k not in drop
    }
    assert select_frames(parent, tmp_path / "a", where="hole_fraction_noisy < 0.5", inline=True).nothing_to_do
    with pytest.raises(CorpusMismatchError, match="made from something else"):
        select_frames(parent, tmp_path / "a", where="hole_fraction_noisy < 0.9", inline=True)


def test_scenes_are_split_anew_and_never_divided(parent: Path, tmp_path: Path) -> None:
    select_frames(parent, tmp_path / "new", splits={"fit": 0.5, "test": 0.5}, seed=4, inline=True)
    new = CorpusReader(tmp_path / "new")
    assert len(new) == len(CorpusReader(parent))
    assert set(new.info.plan.frames_per_split) <= {"fit", "test"}
    table = new.index.table(["key", "split"]).to_pylist()
    splits = {(row["key"].rsplit("/", 1)[0], row["split"]) for row in table}
    assert len(splits) == 3
    assert verify_corpus(tmp_path / "new").ok
    same_frames(new, CorpusReader(parent))


def test_appended_corpora_are_one_that_verifies(tiny: Tiny, tmp_path: Path) -> None:
    first, more = tiny(out=tmp_path / "first"), tiny(out=tmp_path / "more")
    run(first)
    run(more)
    parts = []
    for scene in (0, 1):
        names = sorted({key.split("/")[1] for key in CorpusReader(tmp_path / "first").keys.to_pylist()})
        parts.append(tmp_path / f"part{scene}")
        chosen = f"scene == '{names[0]}'" if scene == 0 else f"scene != '{names[0]}'"
        select_frames(tmp_path / "first", parts[-1], where=chosen, inline=True)
    append_corpora(parts, tmp_path / "whole", inline=True)
    whole, old = CorpusReader(tmp_path / "whole"), CorpusReader(tmp_path / "more")
    assert whole.keys.to_pylist() == old.keys.to_pylist()
    same_frames(whole, old)
    assert verify_corpus(tmp_path / "whole").ok
    assert len(whole.info.identity["parents"]) == 2
    with pytest.raises(InputError, match="two corpora hold a frame of the same key"):
        append_corpora([tmp_path / "first", parts[0]], tmp_path / "twice", inline=True)


def test_what_another_sensor_or_schema_made_is_not_appended(tiny: Tiny, parent: Path, tmp_path: Path) -> None:
    run(tiny(out=tmp_path / "one"))
    run(tiny(out=tmp_path / "clean", translator={"name": "identity"}))
    with pytest.raises(InputError, match="the translator differs") as caught:
        append_corpora([tmp_path / "one", tmp_path / "clean"], tmp_path / "out", inline=True)
    assert "CorpusDataset" in str(caught.value.remedy)
    with pytest.raises(InputError, match="the arrays of a frame differ"):
        append_corpora([tmp_path / "one", parent], tmp_path / "out", inline=True)
    with pytest.raises(InputError, match="nothing to append"):
        append_corpora([parent], tmp_path / "out", inline=True)


def test_another_codec_is_encoded_again_without_loss(parent: Path, tmp_path: Path) -> None:
    schema = CorpusSchema(HEIGHT, WIDTH, FIELDS, codec=Codec(name="none"), shard_frames=4)
    plain = build(tmp_path, 22, schema, rejected=())
    one, other = tmp_path / "one", tmp_path / "other"
    select_frames(parent, one, where="scene == 'scene-00'", inline=True)
    select_frames(plain, other, where="scene == 'scene-01'", inline=True)
    append_corpora([one, other], tmp_path / "both", inline=True)
    same_frames(CorpusReader(tmp_path / "both"), CorpusReader(plain))
    assert verify_corpus(tmp_path / "both").ok


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "like(scene, 3)",
        "like(scene)",
        "scene.upper() == 'A'",
        "depth_min_m +",
        "depth_min_m < 'near'",
        "scene < 3",
        "split is None",
        "1",
        "not " * 900 + "has_rgb",
        "(" * 300 + "has_rgb" + ")" * 300,
    ],
)
def test_what_is_no_condition_is_refused(parent: Path, text: str) -> None:
    reader = CorpusReader(parent)
    with pytest.raises(InputError, match=r"no condition on frames|unknown column"):
        Where(text, reader.schema).mask(reader.index)


def test_conditions_are_what_they_say(parent: Path) -> None:
    reader = CorpusReader(parent)
    rows = reader.index.table(["key", "split", "depth_min_m", "has_rgb"]).to_pylist()

    def chosen(text: str) -> list[str]:
        return [
            row["key"] for row, kept in zip(rows, Where(text, reader.schema).mask(reader.index), strict=True) if kept
        ]

    middle = sorted(row["depth_min_m"] for row in rows)[len(rows) // 2]
    assert chosen(f"depth_min_m < {middle}") == [row["key"] for row in rows if row["depth_min_m"] < middle]
    assert chosen(f"0 < depth_min_m <= {middle} and not has_rgb") == [
        row["key"] for row in rows if row["depth_min_m"] <= middle and not row["has_rgb"]
    ]
    assert chosen("split not in ['train']") == [row["key"] for row in rows if row["split"] != "train"]
    assert chosen("like(scene, '*-01') or frame == '0003'") == [
        row["key"] for row in rows if "scene-01" in row["key"] or row["key"].endswith("0003")
    ]
    with pytest.raises(UnknownNameError, match="unknown column 'hole_fraction'"):
        Where("hole_fraction < 1", reader.schema)


def test_a_condition_that_no_frame_fulfils(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame fulfils"):
        select_frames(parent, tmp_path / "new", where="depth_min_m > 1000", inline=True)
    assert not (tmp_path / "new").exists()


def test_the_commands(parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scene in ("scene-00", "scene-01"):
        with pytest.raises(SystemExit) as ended:
            main(["select", str(parent), "--where", f"scene == '{scene}'", "--out", str(tmp_path / scene), "--inline"])
        assert ended.value.code == 0
    both = ["append", str(tmp_path / "scene-00"), str(tmp_path / "scene-01"), "--out", str(tmp_path / "both")]
    with pytest.raises(SystemExit) as ended:
        main([*both, "--inline", "--json"])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["select", str(parent), "--splits", "train=0.8,val=0.8", "--out", str(tmp_path / "x"), "--inline"])
    assert ended.value.code == 3
    assert "these are no splits" in capsys.readouterr().err
