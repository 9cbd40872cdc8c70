"""What a trained translator is worth in a recording no part of which it has seen.

A figure within one room says nothing about the next, so the card has both and never one for the other: ``figures`` of
the held-out ends of the recordings that were trained on, ``unseen_recordings`` of those that the manifest names to
judge by (``training.unseen``), and ``left_out_recordings`` of one training more for each recording, without it
(``training.leave_one_out``). Nothing is calibrated there: probabilities are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import FrameError, MissingDataError
from depthforge.frame import Frame
from depthforge.manifest import Manifest, PluginBlock
from depthforge.progress import Progress
from depthforge.realism.views import evenly_spaced
from depthforge.stages.hole_scorer import unseen_figures
from depthforge.stages.pairing import Recording, mark_of, pairs_of
from depthforge.stages.training_plan import TrainingPlan
from depthforge.training.translator_card import CARD_FILE, read_card

__all__ = ["LEFT_OUT", "UNSEEN", "judge_unseen", "leave_each_out", "leaving_out"]

UNSEEN: Final = "unseen_recordings"
LEFT_OUT: Final = "left_out_recordings"

_DECIMALS: Final = 5


def judge_unseen(plan: TrainingPlan, out: Path, progress: Progress) -> None:
    """Hold the translator in ``out`` to each recording of ``training.unseen``, and write what it gives into its card.

    What the card says of the same recordings stays. Raises as ``pairs_of``, and MissingDataError for a recording
    without frames.
    """
    if _says(out, UNSEEN, plan.settings.unseen):
        return
    found = []
    for block in plan.settings.unseen:
        progress.note(f"holding the translator to {block.name}, of which it has seen nothing")
        found.append({"mark": mark_of(block), "recording": block.portable(), **_figures(plan, out, block, progress)})
    _write(out, UNSEEN, found)


def leave_each_out(manifest: Manifest, train: Callable[[Manifest], Any]) -> None:
    """Train once more without each recording, by ``train``, and write what each gives then into the manifest's card."""
    settings = manifest.training
    assert settings is not None
    assert isinstance(settings.out, Path), "what lies elsewhere is mirrored from a folder"
    if _says(settings.out, LEFT_OUT, settings.recordings):
        return
    found = []
    for number in range(len(settings.recordings)):
        without = leaving_out(manifest, number)
        train(without)
        found += read_card(settings.out / _without(number)).figures[UNSEEN]
    _write(settings.out, LEFT_OUT, found)


def leaving_out(manifest: Manifest, number: int) -> Manifest:
    """Return the training without recording ``number``, which judges it, in a folder within that of the manifest."""
    settings = manifest.training
    assert settings is not None
    assert isinstance(settings.out, Path), "what lies elsewhere is mirrored from a folder"
    kept = [block for place, block in enumerate(settings.recordings) if place != number]
    changed = {
        "real": kept[0],
        "more_real": tuple(kept[1:]),
        "unseen": (settings.recordings[number],),
        "leave_one_out": False,
        "out": settings.out / _without(number),
    }
    return manifest.model_copy(update={"training": settings.model_copy(update=changed)})


def _without(number: int) -> str:
    return f"without-{number + 1}"


def _figures(plan: TrainingPlan, out: Path, block: PluginBlock, progress: Progress) -> dict[str, Any]:
    recording = pairs_of(block, out / "fused", progress)
    try:
        translator = plan.translator(plan.config.model_copy(update={"weights": out}))
        wanted = (translator.wanted & {"rgb"}) | translator.uses
        frames = _readable(recording, block, wanted, 2 * plan.settings.evaluation_frames, progress)
        figures = unseen_figures(translator, frames)
        return {
            "first": recording.refs[0].key,
            "last": recording.refs[-1].key,
            "frames": len(frames),
            "truth": recording.truth,
            **{name: round(value, _DECIMALS) for name, value in figures.items()},
        }
    finally:
        recording.source.close()


def _readable(
    recording: Recording, block: PluginBlock, wanted: frozenset[str], count: int, progress: Progress
) -> list[Frame]:
    """Return up to ``count`` frames, evenly spaced; of those that cannot be read a warning names the first."""
    frames, unreadable = [], []
    for place in evenly_spaced(len(recording.refs), count):
        try:
            frames.append(recording.read(recording.refs[place], wanted).require_sound())
        except FrameError as error:
            unreadable.append(error)
    if unreadable:
        first = unreadable[0]
        progress.warn(
            f"{len(unreadable)} frames of the recording {block.name} are left out: {first.message} ({first.where})"
        )
    if not frames:
        raise MissingDataError(
            "the recording holds no frame that can be read",
            where=f"training.unseen: {block.name}",
            found=unreadable[0].message if unreadable else "no frame",
            remedy="depthforge check MANIFEST says what is there; the trained translator is kept",
        )
    return frames


def _says(out: Path, name: str, asked: Sequence[PluginBlock]) -> bool:
    return [each.get("mark") for each in read_card(out).figures.get(name, [])] == [mark_of(block) for block in asked]


def _write(out: Path, name: str, found: list[dict[str, Any]]) -> None:
    card = read_card(out)
    figures = {**card.figures, name: found}
    with storage_errors(out):
        write_atomically(out / CARD_FILE, card.model_copy(update={"figures": figures}).to_bytes())
