"""Colour and ids that belong to depth: those whose template names the files of most frames, and that fit its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from depthforge.sources.proposing.contents import Content, Looked
from depthforge.sources.proposing.depth_frames import DepthFrames
from depthforge.sources.proposing.described import Described

__all__ = ["add_companions"]

_IDS: Final = ("instance", "semantic", "mask")


def add_companions(found: Described, looked: Looked, frames: DepthFrames) -> None:
    """Add colour and ids that belong to the frames of depth, and say what else there is."""
    for kind in ("rgb", *_IDS):
        fitting = [each for each in looked.of(kind) if frames.named_by(each.group) and _shows(each, frames)]
        if not fitting:
            continue
        best = max(fitting, key=lambda each: (len(frames.named_by(each.group)), -each.rank))
        taken = [best, *_of_other_suffix(best, fitting, frames)] if kind == "rgb" else [best]
        block = _ids(found, best, frames) if kind in _IDS else _templates(taken, frames)
        if block is not None:
            found.block[kind] = block
        found.say(kind, *(f"{len(each.group.files)} files, {each.says}" for each in taken))
        missing = frames.count - len(set().union(*(frames.named_by(each.group) for each in taken)))
        if missing:
            found.say(kind, f"{missing} of {frames.count} frames of depth have none")
        found.say(
            kind,
            *(f"also {kind}, not used: {each.group.template} ({each.says})" for each in fitting if each not in taken),
        )
    for other in looked.of("other"):
        found.unknown.append(f"what {other.group.template} is ({other.says}); it is not read")


def _shows(content: Content, frames: DepthFrames) -> bool:
    """Return whether an image may be of the view of depth: of its size, colour of its proportions and no smaller."""
    if content.size is None:
        return True
    (height, width), (own_height, own_width) = frames.size, content.size
    if content.kind != "rgb":
        return (own_height, own_width) == (height, width)
    return own_height * width == own_width * height and own_height >= height


def _of_other_suffix(best: Content, fitting: Sequence[Content], frames: DepthFrames) -> list[Content]:
    """Return colour of the frames that ``best`` lacks, in files of the same names but another format."""
    stem = best.group.template.removesuffix(best.group.suffix)
    have = frames.named_by(best.group)
    found = []
    for each in fitting:
        own = frames.named_by(each.group)
        if each.group.template.removesuffix(each.group.suffix) == stem and own - have:
            found.append(each)
            have = have | own
    return found


def _templates(taken: Sequence[Content], frames: DepthFrames) -> str | list[str]:
    templates = [frames.template(each.group) for each in taken]
    return templates[0] if len(templates) == 1 else templates


def _ids(found: Described, content: Content, frames: DepthFrames) -> str | dict[str, Any] | None:
    template, plane = frames.template(content.group), content.planes[0]
    extra: dict[str, Any] = {} if content.form.key is None else {"key": content.form.key}
    if plane.ndim == 3:
        if content.kind != "instance":
            found.unknown.append(f"which class each colour of {template} is: semantic.colours")
            return None
        return {"file": template, "colours": "made"}
    least, most = (
        int(extreme) for extreme in (min(p.min() for p in content.planes), max(p.max() for p in content.planes))
    )
    extra |= {"negative": "none"} if least < 0 else {}
    extra |= {"dtype": "uint32"} if most > 65535 else {}
    return {"file": template, **extra} if extra else template
