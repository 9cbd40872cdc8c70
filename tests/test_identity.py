"""Identity that evolves: an inert option changes nothing, a changed default needs a version, labels key no noise."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.reader import CorpusReader
from depthforge.frame import Camera, Frame
from depthforge.identity import Identity, changed_fields, differences, fingerprint_of
from depthforge.manifest import parse_manifest
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.structured_light import StructuredLight
from depthforge.stages.convert import convert
from depthforge.stages.prepare import prepare
from depthforge.translators.simulation import Simulation
from tests.defaults import TABLE, current, unsound

SIZE = {"width": 64, "height": 48, "focal_px": 60.0}


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int = 1
    b: float = 2.0


class Outer(BaseModel):
    model_config = ConfigDict(frozen=True)
    local_fields: ClassVar[frozenset[str]] = frozenset({"root"})
    root: Path = Path("here")
    size: int
    inner: Inner = Inner()
    blocks: tuple[Inner, ...] = (Inner(),)
    factory: dict[str, int] = Field(default_factory=lambda: {"x": 1})


def test_only_what_is_off_its_default_is_there_at_every_depth() -> None:
    assert changed_fields(Outer(size=3, root=Path("there"))) == {"size": 3}
    changed = Outer(size=3, inner=Inner(b=5), blocks=(Inner(), Inner(a=7)), factory={"x": 2})
    assert changed_fields(changed) == {
        "size": 3,
        "inner": {"b": 5.0},
        "blocks": [{}, {"a": 7}],
        "factory": {"x": 2},
    }
    assert changed_fields(changed, without=frozenset({"size", "blocks", "factory"})) == {"inner": {"b": 5.0}}


def test_differences_name_each_field_and_what_it_was() -> None:
    before = {"source": {"name": "a", "version": 1, "fields": {"frames": 3}}, "seed": 1}
    after = {"source": {"name": "a", "version": 2, "fields": {}}, "seed": 1}
    assert differences(before, after) == ["source.frames: 3 -> default", "source.version: 1 -> 2"]


def test_of_a_plug_in_in_place_of_another_only_the_names_are_told() -> None:
    before = {
        "name": "a",
        "translator": {
            "name": "simulation",
            "version": 3,
            "fields": {"sensor": {"name": "dexnet", "version": 1, "fields": {"gamma": 9, "sigma": 2}}},
        },
        "source": {"name": "kitti", "version": 2, "fields": {"every": 2, "layout": "raw"}},
    }
    after = {
        "name": "b",
        "translator": {
            "name": "simulation",
            "version": 3,
            "fields": {"sensor": {"name": "kinect", "version": 4, "fields": {"dots": 5}}},
        },
        "source": {"name": "scannet", "version": 1, "fields": {"every": 3}},
    }
    assert differences(before, after) == [
        "name: a -> b",
        "source.name: kitti -> scannet",
        "translator.sensor.name: dexnet -> kinect",
    ]


def test_a_fingerprint_ignores_order_and_refuses_nan() -> None:
    assert fingerprint_of({"a": 1, "b": [1.5]}) == fingerprint_of({"b": [1.5], "a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        fingerprint_of({"a": float("nan")})


class WithAnOption(GaussianDropout):
    """The sensor as a later release might have it: an option more, which does nothing by default."""

    later_option: float = 0.0


def wall() -> Frame:
    depth_m = np.linspace(0.8, 4, 48 * 64, dtype=np.float32).reshape(48, 64)
    return Frame("test/wall/0", depth_m, np.ones((48, 64), np.bool_), Camera(60, 60, 31.5, 23.5, 64, 48))


def noise_of(sensor: Sensor) -> tuple[str, bytes]:
    translator = Simulation(Simulation.Config(sensor=sensor))
    noisy = translator.translate(wall(), frame_words(0, "test/wall/0", translator.fingerprint)).depth
    assert noisy is not None
    return translator.fingerprint, noisy.depth_m.tobytes()


def test_an_option_that_does_nothing_changes_no_fingerprint_and_no_byte() -> None:
    """Defect: 1751 of 3072 noisy pixels changed when an inert option was added."""
    assert noise_of(WithAnOption()) == noise_of(GaussianDropout())
    assert noise_of(WithAnOption(later_option=1.0))[0] != noise_of(GaussianDropout())[0]


def test_the_name_of_a_preset_is_no_parameter() -> None:
    assert noise_of(StructuredLight(preset="mine")) == noise_of(StructuredLight())


def test_another_version_of_a_sensor_is_other_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = noise_of(GaussianDropout())[0]
    monkeypatch.setattr(GaussianDropout, "version", GaussianDropout.version + 1)
    assert noise_of(GaussianDropout())[0] != before


@pytest.mark.usefixtures("built_in_plugins")
def test_no_default_changed_without_its_version() -> None:
    table = json.loads(TABLE.read_text())
    assert unsound(table, current()) == [], "a default changes what a manifest means: raise the version with it"
    assert table == current(), "python -m tests.defaults"


def test_the_table_tells_a_changed_default_from_a_new_field_and_a_new_version() -> None:
    before = current()
    name = "sensor gaussian_dropout"
    field = next(iter(before[name]["defaults"]))
    changed = copy.deepcopy(before)
    changed[name]["defaults"][field] = "another"
    assert [line.split(":")[0] for line in unsound(before, changed)] == [name]
    del changed[name]["defaults"][field]
    assert "is 'gone'" in unsound(before, changed)[0]
    changed[name]["version"] += 1
    assert unsound(before, changed) == []
    grown = copy.deepcopy(before)
    grown[name]["defaults"]["later_option"] = 0.0
    grown["sensor another"] = {"version": 1, "defaults": {}}
    assert unsound(before, grown) == []
    # A sensor within a default is there by its name and its fields off their defaults.
    inner = grown["translator simulation"]["defaults"]["sensor"]["fields"]
    inner["later_option"] = 0.0
    assert unsound(before, grown) == []
    inner["patch_share"] = 0.5
    assert [line.split(":")[0] for line in unsound(before, grown)] == ["translator simulation"]


def converted(out: Path, **fields: object) -> tuple[CorpusInfo, dict[str, bytes]]:
    value = {
        "name": "identity",
        "source": {"name": "procedural", "num_scenes": 3, "frames_per_scene": 2, **SIZE},
        "translator": {"name": "simulation", "min_kept": 0},
        "corpus": {"out": str(out)},
        **fields,
    }
    with prepare(parse_manifest(value, where="test")) as prepared:
        convert(prepared, out=out, num_workers=1, inline=True)
    reader = CorpusReader(out)
    frames = (reader.read(position, []) for position in range(len(reader)))
    return reader.info, {frame.key: frame.noisy_depth_m.tobytes() for frame in frames}


def test_labels_codecs_splits_and_shards_change_the_corpus_and_no_noise(tmp_path: Path) -> None:
    info, noise = converted(tmp_path / "plain")
    others = {
        "labels": {"labels": {"normals": "off", "rgb": "required"}},
        "codec": {"corpus": {"out": str(tmp_path / "codec"), "codec": {"name": "fast"}, "shard_frames": 2}},
        "splits": {"splits": {"train": 0.5, "val": 0.5}},
        "refusals": {"translator": {"name": "simulation", "min_kept": 0.001}},
    }
    for name, fields in others.items():
        other, same = converted(tmp_path / name, **fields)
        assert same == noise, name
        assert other.fingerprint != info.fingerprint, name
        assert other.translator.fingerprint == info.translator.fingerprint, name
    said, same = converted(tmp_path / "said", description="in other words", max_reject_fraction=0.5)
    assert (said.fingerprint, same) == (info.fingerprint, noise)


def test_a_corpus_says_what_it_was_made_from(tmp_path: Path) -> None:
    info, _ = converted(tmp_path / "plain")
    assert info.fingerprint == fingerprint_of(info.identity)
    fields = {"frames_per_scene": 2, "num_scenes": 3, **SIZE}
    assert info.identity["source"] == Identity("procedural", info.source.adapter_version, fields).to_json()
    assert str(tmp_path) not in json.dumps(info.identity)
