"""The real side of a comparison of tasks as a corpus: truth and what a sensor measured in the same views.

A corpus of the source ``fused`` is one already. A manifest whose source reads posed scans is made one: fused with the
defaults of ``stages.recording`` unless its source is ``fused`` itself, and converted without noise, so that the torch
datasets read it as they read any corpus. What is made is kept in a folder, and made once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depthforge.errors import InputError
from depthforge.labels.catalogue import DEPTH_RAW, NORMALS
from depthforge.manifest import Manifest, PluginBlock
from depthforge.manifest_file import load_manifest
from depthforge.registry import translators
from depthforge.stages.cluster import RayOptions
from depthforge.stages.convert import convert, finished
from depthforge.stages.prepare import prepare
from depthforge.stages.recording import fused_block, scans_of

__all__ = ["made_corpus", "real_corpus"]

Note = Callable[[str], None]


def real_corpus(real: Path, folder: Path, note: Note = lambda _: None, *, ray: RayOptions | None = None) -> Path:
    """Return the corpus of the real side: ``real`` itself where it is a folder, else what its manifest reads.

    ``ray`` as of :func:`made_corpus`. Raises InputError for scans without poses, and as the source and the conversion
    do.
    """
    if real.is_dir():
        return real
    manifest = load_manifest(real)
    block = fused_block(manifest.source, folder / "fused")
    if block is None:
        raise InputError(
            "the real scans have no truth to test against",
            where=real,
            expected="scans with poses, which are fused to their own truth, or a corpus with depth_raw",
            found=f"{scans_of(manifest.source).name} without poses",
            remedy="state where its poses are; depthforge evaluate compares scans without poses by their noise alone",
        )
    fields = {
        "name": f"{manifest.name}-truth",
        "seed": manifest.seed,
        "source": block,
        "translator": PluginBlock.parse(translators, "identity"),
        "labels": {DEPTH_RAW.name: "required", **_kept(manifest)},
        "limit": manifest.limit,
        "corpus": {"out": folder / "real"},
    }
    return made_corpus(Manifest.model_validate(fields), note, ray=ray)


def made_corpus(manifest: Manifest, note: Note = lambda _: None, *, ray: RayOptions | None = None) -> Path:
    """Return the corpus of ``manifest``, converted where it is not finished yet: on Ray as ``ray`` says, else here.

    Raises as ``prepare`` and ``convert`` do.
    """
    out = manifest.corpus.out
    assert isinstance(out, Path), "what is made on the way lies in a folder"
    if finished(manifest) is None:
        with prepare(manifest, note) as prepared:
            note(f"converting {prepared.plan.num_frames} frames of {manifest.name} to {out.name}, once")
            if ray is None:
                convert(prepared, out=out, num_workers=1, inline=True)
            else:
                convert(
                    prepared,
                    out=out,
                    num_workers=ray.num_workers,
                    address=ray.address,
                    stall_limit_s=ray.stall_limit_s,
                )
    return out


def _kept(manifest: Manifest) -> dict[str, str]:
    return {name: presence for name, presence in manifest.labels.items() if name == NORMALS.name}
