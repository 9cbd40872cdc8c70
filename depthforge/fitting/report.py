"""What a fit is handed over as: a preset file, a table, JSON, and a picture of its curves.

Misfits are root mean squares in units of what is known of the scans: 1 is as good as these scans can tell. What got
worse on held-out frames comes before anything else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel

from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import InputError
from depthforge.fitting.estimators import CurveKind
from depthforge.fitting.fit import Fit, LeftOut, changed_parameters
from depthforge.fitting.judging import PATCHES, SetFit, Worse
from depthforge.fitting.scan_curves import CURVES, Curves, places_of, share_of
from depthforge.frame import Camera

__all__ = ["draw_curves", "lines", "preset_text", "to_json", "write_fit"]

Float64 = npt.NDArray[np.float64]

_DIGITS = 5
_WIDEST_CELL = 11
_NOISES = ("noise against", "white noise against")


def preset_text(fit: Fit) -> str:
    """Return the preset file of a fit, YAML; the same fit gives the same text."""
    scans = fit.scans.describe()
    preset = {
        "sensor": fit.sensor.name,
        "description": f"{fit.sensor.name} as fitted to {scans['fitted_frames']} scans of {scans['data_set']}.",
        "parameters": _plain(changed_parameters(fit)),
        "camera": _plain_camera(fit.scans.fitted[0].camera),
        "fit": _provenance(fit),
    }
    return str(yaml.safe_dump(preset, sort_keys=False, width=110, allow_unicode=True))


def to_json(fit: Fit, left_out: Sequence[LeftOut] = ()) -> dict[str, Any]:
    """Return plain data: the preset, every curve in its own unit, and how well recordings that were left out do."""
    across = {"recordings_left_out": [_left_out(each) for each in left_out]} if left_out else {}
    return across | {
        "sensor": fit.sensor.name,
        "parameters": _plain(changed_parameters(fit)),
        "fit": _provenance(fit),
        "curves": {
            where: {curve: _curve(part, curve, kind) for curve, kind in _kinds(fit).items()}
            for where, part in (("fitted", fit.on_fitted), ("held_out", fit.on_held_out))
        },
    }


def lines(fit: Fit, left_out: Sequence[LeftOut] = ()) -> Iterator[str]:
    """Yield what got worse, a table of the parameters, one of how well the curves match before and after, and how fits
    to the other recordings do on each that was left out.
    """
    yield from _worse_lines(fit)
    names = dict.fromkeys([*fit.read_off, *fit.matched, *fit.fixed])
    how = {**dict.fromkeys(fit.fixed, "set"), **dict.fromkeys(fit.matched, "matched")}
    how.update(dict.fromkeys(fit.read_off, "read off"))
    yield f"{fit.sensor.name}, fitted to {len(fit.scans.fitted)} scans of {fit.scans.dataset}"
    yield f"  candidates are simulated on {fit.scans.scenes_are}"
    yield f"  {'parameter':<28}{'before':>12}{'fitted':>12}   how"
    for name in names:
        before, after = _cell(getattr(fit.start, name)), _cell(getattr(fit.sensor, name))
        if max(len(before), len(after)) > _WIDEST_CELL:
            yield f"  {name:<52}   {how[name]}"
            yield f"    before  {before}"
            yield f"    fitted  {after}"
        else:
            yield f"  {name:<28}{before:>12}{after:>12}   {how[name]}"
    for name, why in fit.skipped.items():
        yield f"  {name:<28}{_cell(getattr(fit.start, name)):>12}{'-':>12}   left as it is: {why}"
    yield ""
    yield f"  {'misfit (1: as scans are known)':<32}{'fitted frames':>20}{'held-out frames':>20}"
    yield f"  {'':<32}{'before':>10}{'fitted':>10}{'before':>10}{'fitted':>10}"
    for curve in _kinds(fit):
        mark = "" if curve in fit.curves else " (not used)"
        yield _misfit_line(curve + mark, fit, (curve,))
    yield _misfit_line("all that were used", fit, fit.curves)
    if None not in fit.on_held_out.told_apart:
        cells = "".join(f"{value:>10.2f}" for value in fit.on_held_out.told_apart)
        yield f"  {PATCHES:<32}{'':>20}{cells}"
    if fit.burst is not None and fit.kinds:
        yield f"  a static burst of {max(fit.burst.num_frames, len(fit.burst.factors))} frames was used"
    elif fit.burst is not None:
        yield f"  noise is that of a static burst of {fit.burst.num_frames} frames; its lines above are not used"
    if left_out:
        yield ""
        yield f"  {'fitted to the other recordings, on':<32}{'before':>10}{'fitted':>10}   got worse"
        for each in left_out:
            worse = ", ".join(_said(worse) for worse in each.worse) or "nothing"
            yield f"  {each.dataset:<32}{each.before:>10.2f}{each.after:>10.2f}   {worse}"


def _worse_lines(fit: Fit) -> Iterator[str]:
    if fit.worse:
        yield "WORSE on held-out frames than before the fit, and used by it:"
        yield from (f"  {_said(each)}" for each in fit.worse)
    if fit.worse_unused:
        yield "worse on held-out frames than before the fit, though it had no say:"
        yield from (f"  {_said(each)}" for each in fit.worse_unused)


def _said(worse: Worse) -> str:
    return f"{worse.curve} {worse.before:.2f} -> {worse.after:.2f}"


def _left_out(each: LeftOut) -> dict[str, Any]:
    return {
        "data_set": each.dataset,
        "misfit_before_and_after": [round(each.before, 3), round(each.after, 3)],
        "worse": _worse(each.worse),
    }


def _worse(worse: Sequence[Worse]) -> dict[str, list[float]]:
    return {each.curve: [round(each.before, 3), round(each.after, 3)] for each in worse}


def draw_curves(fit: Fit) -> bytes:
    """Return a PNG: every curve of the held-out scans, of the fitted sensor and of the one it started from."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 12), layout="constrained")
    kinds = _kinds(fit)
    rows = min(4, -(-len(kinds) // 2))
    axes = figure.subplots(rows, -(-len(kinds) // rows)).ravel()
    part = fit.on_held_out
    for axis, (curve, kind) in zip(axes, kinds.items(), strict=False):
        real, error = part.real.curves[curve], part.real.errors[curve]
        at = kind.places(len(real))
        known = ~np.isnan(real)
        if known.any():
            low, high = (kind.in_unit(real + sign * np.nan_to_num(error)) for sign in (-1, 1))
            axis.fill_between(at[known], low[known], high[known], color="0.8")
        for name, values, style in (
            ("scans, held out", real, "k.-"),
            ("fitted", part.fitted[curve], "C0.-"),
            ("before", part.start[curve], "C1.--"),
        ):
            shown = known & ~np.isnan(values)
            axis.plot(at[shown], kind.in_unit(values)[shown], style, label=name, linewidth=1)
        axis.set_title(", ".join(filter(None, (curve, kind.unit))), fontsize=9)
        axis.set_xlabel(kind.places_are, fontsize=8)
        axis.tick_params(labelsize=7)
        if kind.log_places:
            axis.set_xscale("log")
    axes[0].legend(fontsize=8)
    for axis in axes[len(kinds) :]:
        axis.set_axis_off()
    figure.suptitle(f"{fit.sensor.name} fitted to {fit.scans.dataset}: frames that it has not seen", fontsize=11)
    stored = io.BytesIO()
    figure.savefig(stored, format="png", dpi=80, metadata={"Software": "depthforge"})
    return stored.getvalue()


def write_fit(fit: Fit, out: Path) -> tuple[Path, Path]:
    """Write the preset to ``out`` (.yaml) and its curves beside it (.png); return both paths.

    Raises InputError for a file that is not .yaml and StorageError when it cannot be written.
    """
    require_preset_path(out)
    picture = out.with_suffix(".png")
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, draw_curves(fit))
    write_atomically(out, preset_text(fit).encode())
    return out, picture


def require_preset_path(out: Path) -> None:
    """Raise InputError unless a manifest could name ``out`` as a preset."""
    if out.suffix != ".yaml":
        raise InputError(
            "a preset is a .yaml file", where="--out", expected="a path that ends in .yaml", found=out.name
        )


def _plain_camera(camera: Camera) -> dict[str, float]:
    fields = asdict(camera)
    del fields["baseline_m"]
    return fields


def _provenance(fit: Fit) -> dict[str, Any]:
    on_fitted, on_held_out = (
        {
            curve: [round(value, 3) for value in part.misfits((curve,))]
            for curve in _kinds(fit)
            if not np.isnan(part.real.curves[curve]).all()
        }
        for part in (fit.on_fitted, fit.on_held_out)
    )
    found: dict[str, Any] = {
        "scans": fit.scans.describe(),
        "read_off": sorted(fit.read_off),
        "matched": sorted(fit.matched),
        "set": sorted(set(fit.fixed) - set(fit.matched) - set(fit.read_off)),
        "skipped": dict(fit.skipped),
        "worse_on_held_out_frames": {"used": _worse(fit.worse), "not_used": _worse(fit.worse_unused)},
        "misfit_before_and_after": {
            "fitted_frames": {"all": [round(value, 3) for value in fit.on_fitted.misfits(fit.curves)], **on_fitted},
            "held_out_frames": {
                "all": [round(value, 3) for value in fit.on_held_out.misfits(fit.curves)],
                **on_held_out,
            },
        },
    }
    apart = fit.on_held_out.told_apart
    if None not in apart:
        found["patches_told_apart_before_and_after"] = [round(value, 3) for value in apart if value is not None]
    if fit.burst is not None:
        found["burst_frames"] = fit.burst.num_frames
    return found


def _misfit_line(title: str, fit: Fit, curves: tuple[str, ...]) -> str:
    cells: list[str] = []
    for part in (fit.on_fitted, fit.on_held_out):
        known = any(not np.isnan(part.real.curves[curve]).all() for curve in curves)
        cells.extend(f"{value:.2f}" if known else "-" for value in part.misfits(curves))
    return f"  {title:<32}" + "".join(f"{cell:>10}" for cell in cells)


def _curve(part: SetFit, curve: str, kind: CurveKind) -> dict[str, Any]:
    def numbers(curves: Curves) -> list[float | None]:
        values = kind.in_unit(curves[curve])
        return [None if np.isnan(value) else float(f"{value:.6g}") for value in values]

    return {
        "places": kind.places(len(part.real.curves[curve])).tolist(),
        "places_are": kind.places_are,
        "unit": kind.unit,
        "scans": numbers(part.real.curves),
        "before": numbers(part.start),
        "fitted": numbers(part.fitted),
    }


def _kinds(fit: Fit) -> Mapping[str, CurveKind]:
    return fit.kinds or {
        curve: CurveKind(
            places_are,
            _unit(curve),
            partial(places_of, curve),
            partial(_in_unit, curve),
            curve == "hole sizes" or curve.endswith(("depth", "slope")),
        )
        for curve, places_are in CURVES.items()
    }


def _unit(curve: str) -> str:
    if curve.startswith(_NOISES):
        return "1/km of 1/z"
    return "" if curve.startswith("noise correlation") else "%"


def _in_unit(curve: str, values: Float64) -> Float64:
    if curve.startswith(_NOISES):
        return np.asarray(1000.0 * 2.0**values)
    if curve.startswith("noise correlation"):
        return values
    return 100.0 * (values if curve == "hole sizes" else share_of(values))


def _plain(value: Any) -> Any:
    # Five digits: more say nothing, and differ between machines.
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _cell(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "(" + ", ".join(_cell(each) for each in value.model_dump().values()) + ")"
    if isinstance(value, tuple | list):
        return " ".join(_cell(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
