"""The check of a manifest's source, as a run of it would see the frames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from depthforge.errors import DepthforgeError
from depthforge.manifest import Manifest
from depthforge.sources.base import Note, say_nothing
from depthforge.sources.check import CheckReport, check_source
from depthforge.stages.acceptance import acceptance, require_known_labels, wanted_labels
from depthforge.stages.prepare import make_source, make_translator
from depthforge.translators.base import Translator

__all__ = ["check_manifest"]


def check_manifest(
    manifest: Manifest,
    *,
    max_frames: int | None = None,
    progress: Callable[[int], None] | None = None,
    note: Note = say_nothing,
) -> CheckReport:
    """Check the source of ``manifest`` as a run of it would see it; see ``sources.check.check_source``.

    Raises UnknownNameError for a label that the source does not have.
    """
    source = make_source(manifest.source)
    require_known_labels(manifest, source)
    translator: Translator | None = None
    with suppress(DepthforgeError):  # it is learned, and has no weights yet
        translator = make_translator(manifest.with_weights().translator)
    if translator is None:
        wanted = frozenset(name for name in source.labels if manifest.labels.get(name) != "off")
    else:
        wanted = wanted_labels(manifest.labels, source, translator)
    return check_source(
        source,
        wanted=wanted,
        accept=acceptance(manifest, source, translator),
        needs_depth=translator is None or translator.needs_depth,
        max_reject_fraction=manifest.max_reject_fraction,
        max_frames=max_frames,
        progress=progress,
        note=note,
    )
