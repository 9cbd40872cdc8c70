"""The sections that are seen: the gallery of frames with its filter, and the cloud of points.

All pictures are on the page without its scripts; scripts filter them, enlarge them, and turn the cloud.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.picture import blue_to_red, coloured_depth
from depthforge.report.cloud import Cloud
from depthforge.report.gallery import Gallery, GalleryFrame, Scales
from depthforge.report.markup import Child, Markup, join, raw, tag
from depthforge.report.tables import figure, section

__all__ = ["cloud_data", "cloud_section", "data_block", "gallery_section", "viewer"]

_STOPS: Final = 17
_CLOUD_STOPS: Final = 64
_CANVAS_WIDTH: Final = 720
_TURNS: Final = (
    ("left", "←", "Turn left"),
    ("right", "→", "Turn right"),
    ("up", "↑", "Tilt up"),
    ("down", "↓", "Tilt down"),
    ("nearer", "+", "Come nearer"),
    ("farther", "−", "Go farther"),
    ("home", "⌂", "As the camera saw it"),
)
_SETS: Final = {"clean": "clean", "noisy": "noisy", "real": "real sensor"}


def gallery_section(gallery: Gallery, num_chosen: int, num_frames: int) -> Markup:
    """Return the gallery; ``num_chosen`` of ``num_frames`` were to be shown, fewer are where pictures are large."""
    names = list(dict.fromkeys(name for frame in gallery.frames for name in frame.pictures))
    told = (
        f"{len(gallery.frames)} of {num_frames:,} frames: evenly from every split, and those with the most and the "
        "fewest holes."
    )
    if len(gallery.frames) < num_chosen:
        told += f" {num_chosen - len(gallery.frames)} more would have made the page too large."
    frames = tag("ul", *(_frame(frame, gallery) for frame in gallery.frames), class_="frames", id="frames")
    return section(
        "gallery",
        "Frames",
        tag("p", told, class_="lead"),
        _legend(gallery.scales, has_noise="noisy" in names),
        _filters(gallery, names),
        tag("p", id="shown", class_="note", role="status"),
        frames,
        tag("button", "Show more frames", type="button", id="more", hidden=True),
    )


def cloud_data(cloud: Cloud, scales: Scales) -> Markup:
    """Return what draws the cloud: its points, and the colours of depth that the pictures have, from 0 to far."""
    ramp = _depth_ramp(scales, _CLOUD_STOPS)[:, ::-1].tolist()
    return data_block("cloud-data", {**cloud.to_json(), "far_m": scales.far_m, "ramp": ramp})


def cloud_section(cloud: Cloud) -> Markup:
    """Return the cloud's canvas with what turns it."""
    choices = [
        tag("label", tag("input", type="radio", name="cloud-set", value=name, checked=index == 0), _SETS[name])
        for index, name in enumerate(sorted(cloud.depths, key=["noisy", "clean", "real"].index))
    ]
    colours = ["depth", *(["colour"] if cloud.rgb is not None else [])]
    paints = [
        tag("label", tag("input", type="radio", name="cloud-paint", value=name, checked=index == 0), name)
        for index, name in enumerate(colours)
    ]
    buttons = [
        tag("button", sign, type="button", data_turn=name, aria_label=title, title=title)
        for name, sign, title in _TURNS
    ]
    canvas = tag(
        "canvas",
        id="cloud-canvas",
        tabindex=0,
        role="application",
        aria_label=f"points of frame {cloud.key}",
        aria_describedby="cloud-help",
        width=_CANVAS_WIDTH,
        height=round(_CANVAS_WIDTH * min(1.0, max(0.45, cloud.height / cloud.width))),
    )
    return section(
        "cloud",
        "Points",
        tag("p", f"Frame {cloud.key}, whose share of holes is the median, as points in space.", class_="lead"),
        tag(
            "div",
            tag("fieldset", tag("legend", "Depth"), *choices),
            tag("fieldset", tag("legend", "Colour"), *paints) if len(paints) > 1 else None,
            class_="controls needs-script",
            hidden=True,
        ),
        tag("div", canvas, class_="canvas-frame"),
        tag("div", *buttons, class_="turns needs-script", role="group", aria_label="Turn the points", hidden=True),
        tag(
            "p",
            "Drag to turn, pinch or scroll with Ctrl to come nearer. With the keyboard: arrow keys turn, + and − come "
            "nearer and go farther, Home goes back to where the camera was.",
            id="cloud-help",
            class_="note",
        ),
        tag("noscript", tag("p", "Points need the page's own script, which is switched off.", class_="warning")),
    )


def viewer() -> Markup:
    """Return the dialog that shows one frame large, its pictures in the same place one after the other."""
    return tag(
        "dialog",
        tag(
            "header",
            tag("h2", id="viewer-title"),
            tag("button", "Close", type="button", id="viewer-close"),
        ),
        tag("div", tag("img", id="viewer-picture", alt=""), class_="viewer-frame"),
        tag("fieldset", tag("legend", "Picture"), tag("div", id="viewer-choices"), class_="viewer-choices"),
        tag("p", id="viewer-facts", class_="note"),
        tag(
            "div",
            tag("button", "Previous frame", type="button", id="viewer-previous"),
            tag("button", "Next frame", type="button", id="viewer-next"),
            class_="viewer-steps",
        ),
        id="viewer",
        aria_labelledby="viewer-title",
    )


def data_block(name: str, value: object) -> Markup:
    """Return JSON for the page's scripts, which nothing runs: what could end the block early is written as escapes."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return tag("script", raw(text), type="application/json", id=name)


def _filters(gallery: Gallery, names: list[str]) -> Markup:
    splits = list(dict.fromkeys(frame.split for frame in gallery.frames))
    scenes = sorted({frame.scene for frame in gallery.frames})
    pictures = [
        tag("label", tag("input", type="checkbox", name="picture", value=name, checked=True), name) for name in names
    ]
    return tag(
        "form",
        _select("Split", "filter-split", splits),
        _select("Scene", "filter-scene", scenes),
        tag(
            "div",
            tag("label", "Text in the key", for_="filter-text"),
            tag("input", type="search", id="filter-text"),
            class_="widest",
        ),
        _share("Holes from, %", "filter-least", 0),
        _share("Holes to, %", "filter-most", 100),
        tag("fieldset", tag("legend", "Pictures"), *pictures),
        class_="controls needs-script",
        id="filters",
        aria_label="Which frames and pictures are shown",
        hidden=True,
    )


def _select(label: str, name: str, values: list[str]) -> Markup:
    options = [tag("option", "all", value=""), *(tag("option", value, value=value) for value in values)]
    return tag("div", tag("label", label, for_=name), tag("select", *options, id=name))


def _share(label: str, name: str, value: int) -> Markup:
    number = tag("input", type="number", id=name, min=0, max=100, step="any", value=value, inputmode="decimal")
    return tag("div", tag("label", label, for_=name), number)


def _frame(frame: GalleryFrame, gallery: Gallery) -> Markup:
    told = ", ".join(_facts(frame))
    pictures = [
        tag(
            "figure",
            tag(
                "img",
                src="data:image/webp;base64," + base64.b64encode(content).decode(),
                alt=f"{name} of {frame.key}",
                width=gallery.width,
                height=gallery.height,
                loading="lazy",
                decoding="async",
            ),
            tag("figcaption", name),
            data_picture=name,
        )
        for name, content in frame.pictures.items()
    ]
    holes = 100 * _share_of_holes(frame)
    return tag(
        "li",
        tag("h3", frame.key),
        tag("p", told, class_="note"),
        tag("div", *pictures, class_="pictures"),
        tag("button", "Look closer", tag("span", f" at {frame.key}", class_="unseen"), type="button", class_="closer",
            hidden=True),
        class_="frame",
        data_key=frame.key,
        data_split=frame.split,
        data_scene=frame.scene,
        data_holes=round(holes, 3),
        data_facts=told,
    )  # fmt: skip


def _facts(frame: GalleryFrame) -> Iterator[str]:
    values = frame.figures
    yield frame.split
    yield frame.chosen
    if _known(values["hole_fraction_noisy"]):
        yield f"holes {100 * values['hole_fraction_noisy']:.1f} % (clean {100 * values['hole_fraction_clean']:.1f} %)"
    else:
        yield f"holes {100 * values['hole_fraction_clean']:.1f} %"
    if _known(values["noise_mean_abs_m"]):
        yield f"noise {1000 * values['noise_mean_abs_m']:.3g} mm"
    if _known(values["depth_min_m"]):
        yield f"{figure(values['depth_min_m'])} to {figure(values['depth_max_m'])} m"


def _share_of_holes(frame: GalleryFrame) -> float:
    noisy, clean = frame.figures["hole_fraction_noisy"], frame.figures["hole_fraction_clean"]
    return noisy if _known(noisy) else clean


def _known(value: float) -> bool:
    return value == value


def _legend(scales: Scales, *, has_noise: bool) -> Markup:
    bars = [_ramp("depth", _depth_ramp(scales, _STOPS), "0 m", f"{scales.far_m:g} m and beyond")]
    if has_noise:
        off = blue_to_red(np.linspace(-1, 1, _STOPS, dtype=np.float32))
        bars.append(_ramp("noisy - clean", off, f"−{scales.spread_mm:g} mm", f"+{scales.spread_mm:g} mm"))
    bars.append(tag("li", tag("span", class_="black"), "black: no measurement"))
    return tag("ul", *bars, class_="scales", aria_label="Colours of the pictures")


def _depth_ramp(scales: Scales, stops: int) -> npt.NDArray[np.uint8]:
    """Return the colours (stops, 3) BGR of depths from 0 to the end of the scale."""
    depth_m = np.linspace(0, 1, stops, dtype=np.float32)[None] * np.float32(scales.far_m)
    colours: npt.NDArray[np.uint8] = coloured_depth(np.maximum(depth_m, np.float32(1e-6)), scales.far_m)
    return colours.reshape(stops, 3)


def _ramp(name: str, colours_bgr: npt.NDArray[np.uint8], low: str, high: str) -> Markup:
    identity = "ramp-" + "".join(letter for letter in name if letter.isalpha())
    stops: list[Child] = [
        tag("stop", offset=f"{100 * index / (_STOPS - 1):.1f}%", stop_color=f"rgb({r},{g},{b})")
        for index, (b, g, r) in enumerate(colours_bgr.tolist())
    ]
    gradient = tag("defs", tag("linearGradient", *stops, id=identity))
    bar = tag("rect", width=120, height=12, fill=f"url(#{identity})")
    picture = tag("svg", join(gradient, bar), viewBox="0 0 120 12", class_="ramp", aria_hidden="true")
    return tag("li", f"{name}: {low} ", picture, f" {high}")
