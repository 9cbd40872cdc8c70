"""Learned translators: metres in, metres out, holes are holes, and what the networks are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from depthforge.errors import FrameError, InputError, MissingDataError
from depthforge.frame import Frame, NoisyDepth
from depthforge.geometry import z_to_ray_length
from depthforge.networks.ending import MEASURED_AT_FIRST
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.initialise import initialise
from depthforge.networks.precision import Precision
from depthforge.seeding import frame_words
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.world_fields import world_normals
from depthforge.testing.translators import TranslatorTests, clean_frame
from depthforge.translators import learned
from depthforge.translators.dcl import Dcl
from depthforge.translators.hole_sampling import fixed_point, sampled_holes
from depthforge.translators.learned import choose_device
from depthforge.translators.surface_noise import frame_anchored, frame_hole_field, points_of
from tests.stages.learned import write_weights


class TestContract(TranslatorTests):
    """The battery, on tiny random weights."""

    @pytest.fixture
    def translator(self, tmp_path: Path) -> Dcl:
        block = write_weights(tmp_path)
        return Dcl(Dcl.Config(**{name: value for name, value in block.items() if name != "name"}))


class TestNoiseChannelContract(TranslatorTests):
    """The same with a channel of noise and a head of validity."""

    @pytest.fixture
    def translator(self, tmp_path: Path) -> Dcl:
        block = write_weights(tmp_path, noise_channels=1, validity=True)
        return Dcl(Dcl.Config(**{name: value for name, value in block.items() if name != "name"}))


class TestSurfaceContract(TranslatorTests):
    """The same with noise and holes on surfaces, on disparity, in its steps."""

    @pytest.fixture
    def translator(self, tmp_path: Path) -> Dcl:
        block = write_weights(
            tmp_path,
            noise_channels=1,
            anchored_channels=1,
            validity=True,
            holes="copula",
            quantity="disparity",
            quantiser={"disparity_m_px": 43.9},
        )
        return Dcl(Dcl.Config(**{name: value for name, value in block.items() if name != "name"}))


class Answers(nn.Module):
    """A network that keeps its inputs and answers with a function of their depth."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.clone())
        return self.gain * x[:, :1]


def translate(network: Answers, frames: Sequence[Frame], **options: object) -> list[NoisyDepth]:
    translator = Dcl.of_networks(Dcl.Config(**options), {"generator": network})  # type: ignore[arg-type]
    captures = translator.translate_batch(frames, [(number, 7) for number, _ in enumerate(frames)])
    return [capture.depth for capture in captures if capture.depth is not None]


def test_one_metric_maximum_for_all_frames() -> None:
    frame = clean_frame(48, 64)
    network = Answers()
    (noisy,) = translate(network, [frame], max_depth_m=4.0)
    np.testing.assert_allclose(network.inputs[0][0, 0].numpy(), frame.depth_m / 4, rtol=1e-6)
    np.testing.assert_allclose(noisy.depth_m, frame.depth_m, rtol=1e-6)
    np.testing.assert_array_equal(noisy.valid, frame.valid)


def test_depth_beyond_the_maximum_is_a_hole_on_both_sides() -> None:
    frame = clean_frame(48, 64)
    network = Answers()
    (noisy,) = translate(network, [frame], max_depth_m=2.0)
    beyond = frame.depth_m > 2.0
    assert beyond.any()
    assert not network.inputs[0][0, 0].numpy()[beyond].any()
    np.testing.assert_array_equal(noisy.valid, frame.valid & ~beyond)


def test_per_image_divides_by_the_maximum_of_each_image() -> None:
    frame = clean_frame(48, 64)
    near = replace(frame, depth_m=frame.depth_m / 2)
    network = Answers()
    noisy = translate(network, [frame, near], normalisation="per_image")
    assert all(seen.max() == 1 for seen in network.inputs)
    np.testing.assert_allclose(noisy[1].depth_m, near.depth_m, rtol=1e-6)


def test_an_output_at_or_below_the_threshold_is_a_hole() -> None:
    frame = clean_frame(48, 64)
    middle = float(np.median(frame.depth_m)) / 4
    (noisy,) = translate(Answers(), [frame], max_depth_m=4.0, hole_threshold=middle)
    np.testing.assert_array_equal(noisy.valid, frame.valid & (frame.depth_m / np.float32(4) > np.float32(middle)))
    assert not noisy.depth_m[~noisy.valid].any()


def test_holes_stay_holes_whatever_the_network_says() -> None:
    frame = clean_frame(48, 64)

    class Fills(Answers):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x[:, :1], 0.5) * self.gain

    (noisy,) = translate(Fills(), [frame], max_depth_m=4.0)
    np.testing.assert_array_equal(noisy.valid, frame.valid)
    np.testing.assert_array_equal(noisy.depth_m[frame.valid], 2.0)


def test_colour_reaches_the_network_as_blue_green_red() -> None:
    frame = clean_frame(48, 64)
    assert frame.rgb is not None
    frame.rgb[...] = (255, 51, 0)
    network = Answers()
    translate(network, [frame], with_rgb=True)
    np.testing.assert_allclose(network.inputs[0][0, 1:, 5, 5].numpy(), [0.0, 0.2, 1.0], rtol=1e-6)
    with pytest.raises(FrameError, match="no colour"):
        translate(Answers(), [replace(frame, rgb=None)], with_rgb=True)


def test_noise_is_a_function_of_the_words() -> None:
    frame = clean_frame(48, 64)
    network = Answers()
    translate(network, [frame, frame], noise_channels=2)
    translate(network, [frame], noise_channels=2)
    noise = torch.cat(network.inputs)[:, 1:]
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(1, abs=0.05)


def test_rays_go_in_and_planar_depth_comes_out() -> None:
    frame = clean_frame(48, 64)
    network = Answers()
    (noisy,) = translate(network, [frame], max_depth_m=6.0, quantity="ray")
    np.testing.assert_allclose(
        network.inputs[0][0, 0].numpy() * 6, z_to_ray_length(frame.depth_m, frame.camera), rtol=1e-6
    )
    np.testing.assert_allclose(noisy.depth_m, frame.depth_m, rtol=1e-6)


def test_more_disparity_is_less_depth() -> None:
    frame = clean_frame(48, 64)
    network = Answers(1.25)
    (noisy,) = translate(network, [frame], quantity="disparity", min_depth_m=0.5)
    seen = network.inputs[0][0, 0].numpy()[frame.valid]
    np.testing.assert_allclose(seen, 0.5 / frame.depth_m[frame.valid], rtol=1e-6)
    np.testing.assert_allclose(noisy.depth_m, frame.depth_m / 1.25, rtol=1e-6)


def test_fields_on_surfaces_are_between_noise_and_colour_and_last() -> None:
    frame = replace(clean_frame(48, 64), T_world_cam=np.eye(4))
    network = Answers()
    options = {"noise_channels": 1, "anchored_channels": 2, "with_rgb": True, "validity": True, "holes": "copula"}
    config = Dcl.Config(**options)  # type: ignore[arg-type]
    assert Dcl(config).uses == {"T_world_cam"}
    assert Dcl(Dcl.Config()).uses == frozenset()
    translator = Dcl.of_networks(config, {"generator": network})
    words = frame_words(0, frame.key, "x")
    translator.translate(frame, words)
    (given,) = network.inputs[0].numpy()
    assert len(given) == 8
    np.testing.assert_array_equal(given[2:4], frame_anchored(frame, words, 2, config.anchored_m))
    np.testing.assert_array_equal(given[7], frame_hole_field(frame, words, config))
    assert frame.rgb is not None
    np.testing.assert_allclose(given[4], frame.rgb[..., 2] / np.float32(255))
    assert set(translator.images(frame)) == {"depth", "rgb", "points"}


def test_holes_are_those_of_the_copula() -> None:
    frame = clean_frame(120, 160)
    config = Dcl.Config(width=4, residual=0.01, validity=True, holes="copula", short_px=2.0)
    networks = Dcl.make_networks(config)
    for network in networks.values():
        initialise(network, torch.Generator().manual_seed(0), gain=1.0)
    generator = networks["generator"].eval()
    assert isinstance(generator, DepthGenerator)
    assert generator.valid is not None
    noisy = Dcl.of_networks(config, networks).translate(frame, (1, 2)).depth
    assert noisy is not None
    logits: list[Tensor] = []
    generator.valid.register_forward_hook(lambda module, given, said: logits.append(said))
    with torch.no_grad():
        generator(torch.cat([torch.from_numpy(frame.depth_m)[None, None] / 10, torch.zeros(1, 1, 120, 160)], dim=1))
    chance = 1 - torch.sigmoid(logits[0][0, 0] + MEASURED_AT_FIRST).numpy()
    points = points_of(frame)
    long = world_normals(points, np.eye(4), (1, 2), config.long_m, stream=211)
    short = correlated_normals((1, 2), (120, 160), 2.0, stream=210)
    share = config.long_share
    field = np.float32(math.sqrt(share)) * long + np.float32(math.sqrt(1 - share)) * short
    lost = sampled_holes(fixed_point(chance), field)
    assert 0.02 < lost.mean() < 0.9
    differ = (noisy.valid != (frame.valid & ~lost)).mean()
    assert differ < 1e-3, "but for the last bit of a quantile"


def test_depth_is_in_steps_of_the_sensor(tmp_path: Path) -> None:
    frame = clean_frame(48, 64)
    for number, (quantity, quantiser) in enumerate(
        (("z", {"disparity_m_px": 43.9}), ("disparity", {"disparity_m_px": 43.9}), ("z", {"step_m": 0.01}))
    ):
        block = write_weights(tmp_path / str(number), quantity=quantity, quantiser=quantiser)
        translator = Dcl(Dcl.Config(**{name: value for name, value in block.items() if name != "name"}))
        depth = translator.translate(frame, (1, 2)).depth
        assert depth is not None
        depth_m = depth.depth_m[depth.valid].astype(np.float64)
        steps = depth_m / 0.01 if "step_m" in quantiser else 8 * 43.9 / depth_m
        np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
        assert len(np.unique(depth.depth_m)) < len(np.unique(steps.round())) + 2
        assert np.abs(depth_m - frame.depth_m[depth.valid]).max() < 0.3
        with pytest.raises(InputError, match=r"architecture.quantiser None \(the manifest\)"):
            Dcl(translator.config.model_copy(update={"quantiser": None})).fingerprint  # noqa: B018


def test_output_that_is_no_depth_is_refused() -> None:
    frame = clean_frame(48, 64)
    with pytest.raises(FrameError, match="not a number"):
        translate(Answers(float("nan")), [frame])
    with pytest.raises(FrameError, match="leaves almost nothing"):
        translate(Answers(0.0), [frame])


def test_the_fingerprint_is_of_the_weights_and_not_of_the_place(tmp_path: Path) -> None:
    blocks = [write_weights(tmp_path / name) for name in ("one", "two")]
    other = write_weights(tmp_path / "three", max_depth_m=6.0)
    configs = [Dcl.Config(**{k: v for k, v in b.items() if k != "name"}) for b in (*blocks, other)]
    one, two, three = (Dcl(config).fingerprint for config in configs)
    assert one == two != three
    here = {"device": "cpu", "batch_size": 5}
    assert Dcl(configs[0].model_copy(update=here)).fingerprint == one
    in_precision = {p: Dcl(configs[0].model_copy(update={"precision": p})).fingerprint for p in get_args(Precision)}
    assert in_precision["float32"] == one
    assert len(set(in_precision.values())) == 3
    assert Dcl(configs[0].model_copy(update={"hole_threshold": 0.1})).fingerprint != one
    assert Dcl(configs[0].model_copy(update={"compile": True})).fingerprint != one


def test_how_weights_were_trained_is_in_the_weights_alone(tmp_path: Path) -> None:
    block = write_weights(tmp_path)
    config = Dcl.Config(**{k: v for k, v in block.items() if k != "name"})
    trained_otherwise = config.model_copy(update={"learning_rate": 1e-3, "contrast_weight": 9.0})
    assert Dcl(trained_otherwise).identity == Dcl(config).identity
    fussier = config.model_copy(update={"min_kept": 0.5})
    assert Dcl(fussier).fingerprint == Dcl(config).fingerprint, "which frames are refused is not the noise's"
    assert Dcl(fussier).identity != Dcl(config).identity


@pytest.mark.parametrize("wanted", [True, False])
def test_networks_are_compiled_on_a_gpu_alone_and_if_wanted(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(learned, "compile_network", compiled.append)
    block = write_weights(tmp_path)
    translator = Dcl(Dcl.Config(compile=wanted, device="cpu", **{k: v for k, v in block.items() if k != "name"}))
    networks = list(translator.loaded().values())
    assert compiled == []
    translator._quicken(networks)
    assert compiled == (networks if wanted else [])


def test_missing_weights_say_how_to_get_them() -> None:
    with pytest.raises(MissingDataError, match="no weights") as caught:
        Dcl(Dcl.Config()).fingerprint  # noqa: B018
    assert "depthforge train MANIFEST" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="a GPU is asked for and there is none"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
