"""Each sign of collapse is seen where it is and not where it is not, and stops a training only when it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.errors import DepthforgeError, NotFiniteLossError, TrainingCollapsedError
from depthforge.manifest import WatchSettings
from depthforge.training.watch import Evaluation, Watch, evaluation_of

NUM_FRAMES, SIZE = 8, (24, 32)
REAL_HOLES = np.linspace(0.05, 0.15, 21)


def clean_frames(seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(NUM_FRAMES):
        depth = (random.uniform(1, 4) + random.uniform(0, 0.02) * np.arange(SIZE[1]) * np.ones(SIZE)).astype(np.float32)
        valid = random.random(SIZE) > 0.02
        frames.append((np.where(valid, depth, np.float32(0)), valid))
    return frames


def with_holes(frames: list[tuple[np.ndarray, np.ndarray]], share: float) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(1)
    masks = [valid & (random.random(SIZE) >= share) for _, valid in frames]
    return [(np.where(mask, depth, np.float32(0)), mask) for (depth, _), mask in zip(frames, masks, strict=True)]


def healthy(step: int, **figures: Any) -> Evaluation:
    known: dict[str, Any] = {
        "spread": 1.0,
        "hole_fraction": 0.08,
        "real_hole_fractions": (0.05, 0.15),
        "separation": 0.9,
        "logit_spread": 0.3,
        "adversarial_loss": 0.6,
        "depth_off": 0.01,
        "normals_off_deg": 12.0,
    }
    return Evaluation(step, **(known | figures))


def names(watch: Watch, evaluation: Evaluation) -> list[str]:
    return [sign.name for sign in watch.look(evaluation)]


def test_the_figures_of_a_translator_that_works() -> None:
    clean = clean_frames()
    noisy = [
        (depth + np.float32(0.005) * np.random.default_rng(3).standard_normal(SIZE, np.float32), valid)
        for depth, valid in with_holes(clean, 0.1)
    ]
    found = evaluation_of(500, clean, noisy, REAL_HOLES)
    assert found.step == 500
    assert found.spread == pytest.approx(1, abs=0.01)
    assert found.hole_fraction == pytest.approx(0.1, abs=0.01)
    assert found.real_hole_fractions == pytest.approx((0.055, 0.145))
    assert (found.separation, found.logit_spread) == (None, None)
    assert not Watch(WatchSettings(grace_steps=0)).look(found)
    assert set(found.figures()) == {"spread over inputs, relative to clean", "holes made, share of valid"}


def test_one_picture_has_no_spread_whatever_it_holds_and_half_the_contrast_has_half() -> None:
    clean = clean_frames()
    one = np.random.default_rng(5).uniform(1, 4, SIZE).astype(np.float32)
    same = [(one, mask) for _, mask in with_holes(clean, 0.3)]
    found = evaluation_of(1, clean, same, REAL_HOLES)
    assert found.spread == pytest.approx(0, abs=1e-6)
    assert names(Watch(WatchSettings(grace_steps=0)), found) == ["one picture for all inputs"]
    half = [(depth / 2 + 1, mask) for depth, mask in clean]
    assert evaluation_of(1, clean, half, REAL_HOLES).spread == pytest.approx(0.5, abs=1e-3)


def test_everything_a_hole_is_its_own_sign_and_no_measure_of_spread() -> None:
    clean = clean_frames()
    nothing = [(np.zeros(SIZE, np.float32), np.zeros(SIZE, bool))] * NUM_FRAMES
    with np.errstate(all="raise"):
        found = evaluation_of(1, clean, nothing, REAL_HOLES)
    assert found.hole_fraction == 1
    assert np.isnan(found.spread)
    assert names(Watch(WatchSettings(grace_steps=0)), found) == ["nearly everything is a hole"]


@pytest.mark.parametrize(
    ("share", "real", "expected"),
    [
        (0.7, (0.05, 0.15), []),
        (0.8, (0.05, 0.15), ["nearly everything is a hole"]),  # 0.15 + 0.75 * 0.85 = 0.7875
        (0.8, (0.5, 0.6), []),
        (0.001, (0.05, 0.15), []),
        (0.0004, (0.05, 0.15), ["no holes where the sensor has many"]),
        (0.0, (0.0, 0.02), []),
    ],
)
def test_holes_are_held_against_the_real_band(share: float, real: tuple[float, float], expected: list[str]) -> None:
    watch = Watch(WatchSettings(grace_steps=0))
    assert names(watch, healthy(1, hole_fraction=share, real_hole_fractions=real)) == expected


def test_logits_give_the_chance_to_rank_real_above_generated() -> None:
    clean = clean_frames()

    def of(real: np.ndarray, generated: np.ndarray) -> Evaluation:
        return evaluation_of(1, clean, clean, REAL_HOLES, real_logits=real, generated_logits=generated)

    random = np.random.default_rng(0)
    apart = of(random.normal(1, 0.05, (4, 1, 10, 10)), random.normal(0, 0.05, (8, 1, 10, 10)))
    assert apart.separation == 1
    assert apart.logit_spread == pytest.approx(np.hypot(np.sqrt(2) / 3, 0.05), rel=0.02)
    alike = of(random.normal(0.5, 0.1, 5000), random.normal(0.5, 0.1, 5000))
    assert alike.separation == pytest.approx(0.5, abs=0.02)
    dead = of(np.full(50, 0.5, np.float32), np.full(50, 0.5, np.float32))
    assert (dead.separation, dead.logit_spread) == (0.5, 0)
    watch = Watch(WatchSettings(grace_steps=0))
    assert not watch.look(healthy(1, separation=alike.separation, logit_spread=alike.logit_spread))
    assert names(watch, healthy(1, separation=0.5, logit_spread=0.0)) == [
        "the discriminator says the same of everything"
    ]


def test_a_discriminator_that_wins_counts_only_while_the_generator_gains_nothing() -> None:
    watch = Watch(WatchSettings(grace_steps=0, slow_patience=3))

    def seen(step: int, loss: float | None, separation: float = 1.0) -> list[int]:
        return [sign.seen for sign in watch.look(healthy(step, separation=separation, adversarial_loss=loss))]

    assert [seen(1, 1.0), seen(2, 0.95), seen(3, 0.85), seen(4, 0.84)] == [[1], [2], [1], [2]]
    assert seen(5, 0.84, separation=0.99) == []
    assert [seen(step, None) for step in (6, 7)] == [[1], [2]]
    error = watch.verdict(watch.look(healthy(8, separation=1.0, adversarial_loss=None)))
    assert error is not None
    assert "always wins" in error.message


@pytest.mark.parametrize("figures", [{"depth_off": 0.35}, {"normals_off_deg": 50.0}])
def test_distorted_geometry(figures: dict[str, float]) -> None:
    assert names(Watch(WatchSettings(grace_steps=0)), healthy(1, **figures)) == ["the geometry is distorted"]


def test_what_was_not_measured_is_no_sign() -> None:
    unknown = Evaluation(5000, np.nan, np.nan, (0.05, 0.15))
    assert not Watch(WatchSettings()).look(unknown)
    nothing_measured = healthy(5000, separation=None, logit_spread=None, depth_off=np.nan, normals_off_deg=np.nan)
    assert not Watch(WatchSettings()).look(nothing_measured)


def test_signs_within_the_grace_period_do_not_count_and_patience_is_in_a_row() -> None:
    watch = Watch(WatchSettings(grace_steps=100, patience=2))
    picture = [watch.look(healthy(step, spread=0.01)) for step in (50, 99)]
    assert picture == [[], []]
    first = watch.look(healthy(100, spread=0.01))
    assert [sign.seen for sign in first] == [1]
    assert watch.verdict(first) is None
    assert watch.look(healthy(150)) == []
    assert watch.verdict(watch.look(healthy(200, spread=0.01))) is None
    error = watch.verdict(watch.look(healthy(250, spread=0.01)))
    assert isinstance(error, TrainingCollapsedError)
    assert error.exit_code == 5
    assert str(error).splitlines()[:4] == [
        "the training has collapsed: one picture for all inputs",
        "  where:    step 250",
        "  expected: at least 0.1",
        "  found:    a pixel varies over the frames by 0.01 of what the clean depth does, at 2 evaluations in a row",
    ]
    assert "contrast_weight" in str(error.remedy)


def test_a_watch_goes_on_from_its_state_and_a_disabled_one_only_reports() -> None:
    settings = WatchSettings(grace_steps=0, patience=2)
    watch = Watch(settings)
    watch.look(healthy(1, spread=0.0))
    resumed = Watch(settings)
    resumed.load_state_dict(watch.state_dict())
    signs = resumed.look(healthy(2, spread=0.0))
    assert resumed.verdict(signs) is not None
    assert signs[0].line().startswith("sign of collapse, 2 of 2: one picture for all inputs (")
    disabled = Watch(settings.model_copy(update={"enabled": False}))
    disabled.load_state_dict(watch.state_dict())
    assert disabled.verdict(disabled.look(healthy(2, spread=0.0))) is None


def test_settings_are_closed_and_every_field_is_described() -> None:
    assert all(field.description for field in WatchSettings.model_fields.values())
    with pytest.raises(ValidationError):
        WatchSettings(patiense=3)  # type: ignore[call-arg]


def test_a_loss_that_is_no_number_names_step_loss_and_checkpoint() -> None:
    error = NotFiniteLossError.at(120, "generator", "checkpoints/step-000100")
    assert isinstance(error, (DepthforgeError, FloatingPointError))
    assert error.exit_code == 5
    assert error.message == "generator is not a finite number at step 120"
    assert "the last good checkpoint is checkpoints/step-000100" in str(error)
    assert "no checkpoint" in str(NotFiniteLossError.at(3, "gan"))
