"""What got worse on held-out frames, and what is taken back for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthforge.fitting.candidates import Float64, Target
from depthforge.fitting.judging import (
    ERRORS,
    PATCHES,
    Part,
    SetFit,
    Worse,
    take_back,
    worse_curves,
    worse_errors,
    worse_patches,
)
from depthforge.fitting.scan_curves import CURVES, Curves
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout

NOISE, HOLES, SIZES = "noise against depth", "holes against depth", "hole lengths"
START = GaussianDropout(sigma_constant_m=0.002, pixel_dropout=0.01, edge_dropout=0.1)
FITTED = GaussianDropout(sigma_constant_m=0.004, pixel_dropout=0.05, edge_dropout=0.4)
PARTS = [
    Part(("sigma_constant_m",), (NOISE,)),
    Part(("pixel_dropout",), (HOLES,)),
    Part(("edge_dropout",), (SIZES,)),
]


def curves(**off: float) -> Curves:
    """Curves that are so many standard errors off, by the first word of their names."""
    return {name: np.full(4, 0.1 * off.get(name.split()[0], 0.0)) for name in CURVES}


def judged(before: Curves, after: Curves) -> SetFit:
    errors: dict[str, Float64] = {name: np.full(4, 0.1) for name in CURVES}
    return SetFit(Target(curves(), errors), before, after)


@pytest.mark.parametrize(
    ("before", "after", "is_worse"),
    [(0.3, 4.8, True), (0.3, 1.2, False), (2.0, 3.5, True), (40.0, 42.0, False), (40.0, 50.0, True), (5.0, 1.0, False)],
)
def test_a_curve_got_worse_by_more_than_is_known_of_it(before: float, after: float, is_worse: bool) -> None:
    found = worse_curves(judged(curves(noise=before), curves(noise=after)), (NOISE, HOLES))
    assert [each.curve for each in found] == [NOISE] * is_worse
    if is_worse:
        # The floor of noise adds to the error of 0.1.
        assert found[0].before == pytest.approx(before, rel=0.06)
        assert found[0].after == pytest.approx(after, rel=0.06)


def test_what_made_it_worse_is_taken_back_and_the_rest_stays() -> None:
    def judge(sensor: Sensor) -> SetFit:
        assert isinstance(sensor, GaussianDropout)
        return judged(
            curves(noise=9.0, holes=1.0), curves(noise=1.0, holes=5.0 if sensor.pixel_dropout > 0.01 else 1.0)
        )

    found, on_held_out, why = take_back(START, FITTED, PARTS, (NOISE, HOLES, SIZES), judge)
    assert found == FITTED.model_copy(update={"pixel_dropout": 0.01})
    assert set(why) == {"pixel_dropout"}
    assert why["pixel_dropout"].startswith(
        "taken back: on held-out frames holes against depth got worse (1.00 -> 4.98)"
    )
    assert worse_curves(on_held_out, (NOISE, HOLES, SIZES)) == ()


def test_what_wins_more_than_it_loses_stays_and_is_left_to_be_said() -> None:
    def judge(sensor: Sensor) -> SetFit:
        assert isinstance(sensor, GaussianDropout)
        is_fitted = sensor.sigma_constant_m > 0.002
        return judged(curves(noise=30.0, holes=1.0), curves(noise=1.0, holes=3.0) if is_fitted else curves(noise=30.0))

    found, on_held_out, why = take_back(START, FITTED, PARTS, (NOISE, HOLES), judge)
    assert (found, why) == (FITTED, {})
    assert [each.curve for each in worse_curves(on_held_out, (NOISE, HOLES))] == [HOLES]


@pytest.mark.parametrize(
    ("real", "before", "after", "is_worse"),
    [(0.15, 0.16, 0.29, True), (0.15, 0.05, 0.16, False), (0.15, 0.16, 0.13, False), (0.01, 0.0, 0.02, False)],
)
def test_an_error_got_worse_when_it_is_farther_from_the_scans(
    real: float, before: float, after: float, is_worse: bool
) -> None:
    found = worse_errors(replace(judged(curves(), curves()), errors={"block_sd": (real, before, after)}))
    assert found == ((Worse(ERRORS["block_sd"], before, after),) if is_worse else ())


def test_what_puts_an_error_off_is_taken_back_whatever_the_curves_say() -> None:
    def judge(sensor: Sensor) -> SetFit:
        assert isinstance(sensor, GaussianDropout)
        after = 0.3 if sensor.sigma_constant_m > 0.002 else 0.16
        seen = judged(curves(noise=9.0), curves(noise=1.0 if sensor.sigma_constant_m > 0.002 else 9.0))
        return replace(seen, errors={"block_sd": (0.15, 0.16, after), "outlier_share": (0.1, 0.1, 0.1)})

    found, on_held_out, why = take_back(START, FITTED, PARTS, (NOISE, HOLES), judge)
    assert found == FITTED.model_copy(update={"sigma_constant_m": 0.002})
    assert why == {
        "sigma_constant_m": "taken back: on held-out frames spread of blocks off the truth, % got worse "
        "(0.16 -> 0.30) with what was found"
    }
    assert worse_errors(on_held_out) == ()


def test_a_part_spoils_the_curve_of_another() -> None:
    def judge(sensor: Sensor) -> SetFit:
        assert isinstance(sensor, GaussianDropout)
        return judged(curves(noise=1.0), curves(noise=6.0 if sensor.edge_dropout > 0.1 else 1.0))

    found, _, why = take_back(START, FITTED, PARTS, (NOISE,), judge)
    assert found == FITTED.model_copy(update={"edge_dropout": 0.1})
    assert set(why) == {"edge_dropout"}


def test_what_no_part_explains_stays_and_is_left_to_be_said() -> None:
    found, on_held_out, why = take_back(
        START, FITTED, PARTS, (NOISE,), lambda sensor: judged(curves(noise=1.0), curves(noise=6.0))
    )
    assert (found, why) == (FITTED, {})
    assert [each.curve for each in worse_curves(on_held_out, (NOISE,))] == [NOISE]


def test_a_fit_that_is_nowhere_worse_is_left_alone() -> None:
    found, _, why = take_back(
        START, FITTED, PARTS, (NOISE,), lambda sensor: judged(curves(noise=6.0), curves(noise=1.0))
    )
    assert (found, why) == (FITTED, {})


def told_apart(before: float | None, after: float | None, noise: float = 1.0) -> SetFit:
    return replace(judged(curves(noise=9.0), curves(noise=noise)), told_apart=(before, after))


@pytest.mark.parametrize(
    ("before", "after", "is_worse"),
    [(0.6, 0.65, True), (0.6, 0.61, False), (0.9, 0.6, False), (None, 0.9, False), (0.6, None, False)],
)
def test_patches_got_worse_by_more_than_other_frames_would_differ(
    before: float | None, after: float | None, is_worse: bool
) -> None:
    found = worse_patches(told_apart(before, after))
    assert found == (Worse(PATCHES, before or 0, after or 0) if is_worse else None)


def test_what_makes_patches_easier_to_tell_is_taken_back_though_its_curves_win_by_it() -> None:
    def judge(sensor: Sensor) -> SetFit:
        assert isinstance(sensor, GaussianDropout)
        is_fitted = sensor.sigma_constant_m > 0.002
        return told_apart(0.6, 0.9 if is_fitted else 0.58, noise=1.0 if is_fitted else 9.0)

    found, on_held_out, why = take_back(START, FITTED, PARTS, (NOISE, HOLES), judge)
    assert found == FITTED.model_copy(update={"sigma_constant_m": 0.002})
    assert why == {
        "sigma_constant_m": f"taken back: on held-out frames {PATCHES} got worse (0.60 -> 0.90) with what was found"
    }
    assert on_held_out.told_apart == (0.6, 0.58)


def test_what_no_part_explains_of_patches_is_left_to_be_said() -> None:
    found, on_held_out, why = take_back(START, FITTED, PARTS, (NOISE,), lambda sensor: told_apart(0.6, 0.9))
    assert (found, why) == (FITTED, {})
    assert worse_patches(on_held_out) == Worse(PATCHES, 0.6, 0.9)


def test_no_curve_is_mended_at_the_price_of_patches() -> None:
    def judge(sensor: Sensor) -> SetFit:
        assert isinstance(sensor, GaussianDropout)
        is_fitted = sensor.edge_dropout > 0.1
        return told_apart(0.6, 0.6 if is_fitted else 0.7, noise=20.0 if is_fitted else 1.0)

    found, on_held_out, why = take_back(START, FITTED, PARTS, (NOISE,), judge)
    assert (found, why) == (FITTED, {})
    assert [each.curve for each in worse_curves(on_held_out, (NOISE,))] == [NOISE]
