"""A translator of colour is a plug-in like any other: from a manifest to a verified corpus, and trained on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner

from depthforge.cli.main import cli
from depthforge.corpus.datasets import CorpusDataset, CorpusStream
from depthforge.corpus.picture import picture
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.summary import summarise
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import InputError
from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.labels.catalogue import DEPTH_NOISY, RGB, RGB_NOISY
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import Manifest
from depthforge.realism.compare import evaluate_corpus
from depthforge.stages.prepare import make_source
from depthforge.stages.train import train
from depthforge.testing.colour import ChannelGains, SwapChannels
from depthforge.testing.translators import TranslatorTests
from depthforge.training.translator_card import TranslatorCard, read_card
from depthforge.training.weights import write_translator
from tests.heads import Head
from tests.stages.runs import TINY, contents, run
from tests.stages.test_train import ROOMS

Make = Callable[..., Manifest]

SEES_NOTHING = {"min_depth_m": 90.0, "max_depth_m": 100.0}
"""Of a room: colour and no valid pixel."""


@pytest.fixture
def colour(tmp_path: Path) -> Make:
    """Return a maker of tiny manifests whose translator swaps channels."""

    def make(**changes: Any) -> Manifest:
        corpus = {**TINY["corpus"], **changes.pop("corpus", {}), "out": str(changes.pop("out", tmp_path / "corpus"))}
        return Manifest.model_validate({**TINY, "translator": "swap_channels", **changes, "corpus": corpus})

    return make


class TestSwapChannelsContract(TranslatorTests):
    @pytest.fixture
    def translator(self) -> SwapChannels:
        return SwapChannels(SwapChannels.Config())


class TestChannelGainsContract(TranslatorTests):
    @pytest.fixture
    def translator(self, tmp_path: Path) -> ChannelGains:
        config = ChannelGains.Config(weights=tmp_path, device="cpu")
        networks = ChannelGains.make_networks(config)
        card = TranslatorCard(translator="channel_gains", version=1, architecture={}, normalisation=None, origin="test")
        write_translator(tmp_path, networks, card)
        return ChannelGains(config)


def swapped(rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rgb[..., ::-1]


def test_from_a_manifest_to_a_verified_corpus(colour: Make, tmp_path: Path) -> None:
    path = tmp_path / "manifest.yaml"
    manifest = colour()
    path.write_text(yaml.safe_dump(manifest.model_dump(mode="json")))
    done = CliRunner().invoke(cli, ["synthesize", str(path), "--inline"])
    assert done.exit_code == 0, done.output
    assert "verified" in done.output
    corpus = manifest.corpus.out
    assert verify_corpus(corpus, source=make_source(manifest.source)).ok

    source, reader = make_source(manifest.source), CorpusReader(corpus)
    assert len(reader) == 12
    for ref in source.frames():
        clean, record = source.read(ref, frozenset({"rgb"})), reader.read(ref.key)
        assert clean.rgb is not None
        assert record.noisy is None
        assert record.images.keys() == {"rgb_noisy"}
        np.testing.assert_array_equal(record.labels["rgb"], clean.rgb)
        np.testing.assert_array_equal(record.images["rgb_noisy"], swapped(clean.rgb))
        np.testing.assert_allclose(record.clean_depth_m, clean.depth_m, atol=0.0005 + 1e-6)
    names = {path.name for path in (corpus / "shards").glob("*/*") if path.is_dir()}
    assert {"depth_clean", "rgb", "rgb_noisy"} <= names
    assert "depth_noisy" not in names
    index = pq.read_table(next((corpus / "index").glob("*.parquet"))).to_pylist()
    assert all(row["hash_rgb_noisy"] and row["depth_median_m"] for row in index)
    assert not any("hash_depth_noisy" in row or "has_rgb_noisy" in row for row in index)
    assert all(row["noise_rmse_m"] is row["hole_fraction_noisy"] is None for row in index)


def test_training_code_reads_it_by_name(colour: Make) -> None:
    run(colour(splits={"train": 1.0}))
    out = colour().corpus.out
    depths = CorpusDataset(out, "train")[0]
    assert {name for name in depths if name.startswith("depth")} == {"depth_clean", "depth_clean_valid"}
    dataset = CorpusDataset(out, "train", ("rgb", "rgb_noisy"))
    batch = dataset.read_batch([0, 5])
    assert batch["rgb_noisy"].shape == (2, 3, 72, 96)
    assert torch.equal(batch["rgb_noisy"], batch["rgb"].flip(1))
    stream = CorpusStream(out, "train", ("rgb_noisy",), seed=0, rank=0, world_size=1, batch_size=2)
    assert torch.equal(next(iter(stream))["rgb_noisy"], dataset.read_batch([0, 1])["rgb_noisy"])
    only = CorpusReader(out).read(0, ["rgb_noisy"])
    assert (only.images.keys(), only.labels) == ({"rgb_noisy"}, {})


def test_its_papers_and_pictures_say_what_it_holds(colour: Make, tmp_path: Path) -> None:
    run(colour())
    out = colour().corpus.out
    summary = summarise(out)
    assert next(field for field in summary.fields if field.name == "rgb_noisy").num_present == 12
    assert not any("noisy" in line for line in summary.lines() if line.startswith(("  holes", "  noise")))
    card = (out / "README.md").read_text()
    assert "`rgb_noisy` as a real sensor would have taken it" in card
    assert "| `rgb_noisy` | uint8 |  | 12 of 12 | colour as a real camera would have taken it" in card
    assert "depth_noisy" not in card
    picture(out, tmp_path / "sheet.png", count=2)
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_what_needs_noisy_depth_says_that_there_is_none(colour: Make) -> None:
    run(colour(limit=2))
    out = colour().corpus.out
    with pytest.raises(InputError, match="there is no noisy depth") as caught:
        evaluate_corpus(out, [])
    assert caught.value.found == "rgb_noisy"
    with pytest.raises(InputError, match="there is no noisy depth"):
        _ = CorpusReader(out).read(0).noisy_depth_m


@pytest.mark.slow
@pytest.mark.ray
def test_workers_of_ray_find_it_through_its_configuration(colour: Make, head: Head, tmp_path: Path) -> None:
    inline, on_ray = colour(out=tmp_path / "inline"), colour(out=tmp_path / "ray")
    run(inline)
    assert run(on_ray, inline=False, num_workers=2, address=head.address).num_frames == 12
    assert contents(on_ray.corpus.out) == contents(inline.corpus.out)


def test_a_frame_without_a_valid_pixel_is_converted_unless_depth_is_made_of_it(colour: Make, tmp_path: Path) -> None:
    blind = {**TINY["source"], **SEES_NOTHING}
    report = run(colour(source=blind))
    assert (report.num_frames, report.num_rejects) == (12, 0)
    assert verify_corpus(colour().corpus.out).ok
    record = CorpusReader(colour().corpus.out).read(3)
    assert not record.clean_valid.any()
    np.testing.assert_array_equal(record.images["rgb_noisy"], swapped(record.labels["rgb"]))
    assert summarise(colour().corpus.out).statistics["depth_median_m"] is None
    picture(colour().corpus.out, tmp_path / "sheet.png", count=1)
    depth = colour(source=blind, translator="identity", out=tmp_path / "depth", max_reject_fraction=1.0)
    assert run(depth).num_rejects == 12


# --- what is declared and what is returned -------------------------------------------------------------------------


def declare(monkeypatch: pytest.MonkeyPatch, *specs: LabelSpec) -> None:
    monkeypatch.setattr(SwapChannels, "produces", property(lambda self: specs))


@pytest.mark.parametrize(
    "spec",
    [RGB, LabelSpec("semantic", "uint8", "image", "a label of the source"), LabelSpec("K", "uint8", "image", "K")],
    ids=["colour", "label", "intrinsics"],
)
def test_a_name_that_the_corpus_has_already_is_refused(
    colour: Make, monkeypatch: pytest.MonkeyPatch, spec: LabelSpec
) -> None:
    declare(monkeypatch, spec)
    with pytest.raises(InputError, match=f"produces '{spec.name}'"):
        run(colour())
    assert not colour().corpus.out.exists()


def test_a_translator_produces_images(colour: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, LabelSpec("answer", "float64", "frame", "a number for each frame"))
    with pytest.raises(InputError, match="produces images"):
        run(colour())


def other_captures() -> dict[str, Callable[[Frame], Capture]]:
    def image(frame: Frame, dtype: type = np.uint8, width: int = 96) -> Any:
        return np.zeros((72, width, 3), dtype)

    return {
        "nothing": lambda frame: Capture(),
        "depth besides": lambda frame: Capture(
            NoisyDepth(frame.depth_m, frame.valid), images={"rgb_noisy": image(frame)}
        ),
        "another image besides": lambda frame: Capture(images={"rgb_noisy": image(frame), "more": image(frame)}),
        "another type": lambda frame: Capture(images={"rgb_noisy": image(frame, np.float32)}),
        "another size": lambda frame: Capture(images={"rgb_noisy": image(frame, width=95)}),
    }


@pytest.mark.parametrize("kind", other_captures())
def test_what_is_not_as_declared_is_a_reject_of_the_translation(
    colour: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = other_captures()[kind]
    monkeypatch.setattr(SwapChannels, "translate", lambda self, frame, words: made(frame))
    assert run(colour(max_reject_fraction=1.0, limit=2)).rejects_by_error == {"FrameError": 2}
    rejects = next((colour().corpus.out / "rejects").glob("*.parquet"))
    assert {row["stage"] for row in pq.read_table(rejects).to_pylist()} == {"translate"}


def test_depth_and_colour_may_come_together(colour: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, DEPTH_NOISY, RGB_NOISY)
    swap = SwapChannels.translate

    def both(self: SwapChannels, frame: Frame, words: tuple[int, int]) -> Capture:
        return Capture(NoisyDepth(frame.depth_m, frame.valid), swap(self, frame, words).images)

    monkeypatch.setattr(SwapChannels, "translate", both)
    manifest = colour()
    run(manifest)
    assert verify_corpus(manifest.corpus.out, source=make_source(manifest.source)).ok
    record = CorpusReader(manifest.corpus.out).read(0)
    np.testing.assert_array_equal(record.noisy_depth_m, record.clean_depth_m)
    np.testing.assert_array_equal(record.images["rgb_noisy"], swapped(record.labels["rgb"]))
    dataset = CorpusDataset(manifest.corpus.out, "train")
    assert {"depth_noisy", "depth_clean"} <= dataset[0].keys()


# --- a method that learns colour -----------------------------------------------------------------------------------


def learned(folder: Path, **training: Any) -> Manifest:
    """Gains that make rooms as bright as scans of other rooms whose depth sensor sees nothing."""
    return Manifest.model_validate(
        {
            "name": "tiny-colour",
            "source": {**ROOMS, "num_scenes": 1},
            "translator": {"name": "channel_gains"},
            "training": {
                "real": {**ROOMS, "seed": 3, **SEES_NOTHING},
                "out": str(folder / "translator"),
                "epochs": 30,
                "decay_epochs": 0,
                "steps_per_epoch": 1,
                "batch_size": 4,
                "crop_px": None,
                "held_out": 0.25,
                "evaluate_every": 10,
                "evaluation_frames": 2,
                **training,
            },
            "corpus": {"out": str(folder / "corpus"), "shard_frames": 4},
        }
    )


def test_a_learned_translator_of_colour_trains_on_colour_alone_and_converts(tmp_path: Path) -> None:
    manifest = learned(tmp_path)
    report = train(manifest, inline=True)
    assert sorted(report.scores) == [10, 20, 30]
    assert report.scores[30] < report.scores[10], "its own scorer sees the colours come nearer"
    card = read_card(tmp_path / "translator")
    assert (card.normalisation, card.units, card.architecture) == (None, None, {})
    assert "depth" not in card.trained_on["real"]
    assert card.figures["score"] == card.figures["colour off, steps"] == report.best_score
    assert card.figures["score_terms"].keys() == {"mean", "spread"}
    assert (tmp_path / "translator" / "samples.png").read_bytes()[:4] == b"\x89PNG"

    assert run(manifest).num_frames == 4
    assert verify_corpus(tmp_path / "corpus", source=make_source(manifest.source)).ok
    frame = CorpusReader(tmp_path / "corpus").read(0)
    assert not np.array_equal(frame.images["rgb_noisy"], frame.labels["rgb"])
    shown = CliRunner().invoke(cli, ["translator", "show", str(tmp_path / "translator")])
    assert shown.exit_code == 0, shown.output
    assert "depth over" not in shown.output


def test_a_method_that_brings_no_scorer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChannelGains, "make_scorer", classmethod(lambda cls, config, held_out: None))
    with pytest.raises(InputError, match="how checkpoints of channel_gains are scored"):
        train(learned(tmp_path), inline=True)
