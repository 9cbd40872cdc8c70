"""Small finished corpora for reports, of which every name may be hostile."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depthforge.corpus.layout import CorpusInfo, SourceInfo, TranslatorInfo
from depthforge.corpus.plan_file import write_plan
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.writer import ShardWriter
from depthforge.errors import DecodeError
from depthforge.frame import Camera, Capture, Frame, FrameRef, Licence, NoisyDepth
from depthforge.labels.catalogue import DEPTH_RAW, INSTANCE, INTRINSICS, NORMALS, POSE, RGB, RGB_NOISY
from depthforge.labels.spec import LabelSpec
from depthforge.plan import plan_shards

CAMERA = Camera(50.0, 50.0, 31.5, 23.5, 64, 48)
FIELDS = (INTRINSICS, POSE, RGB, NORMALS, INSTANCE, DEPTH_RAW)
EVIL = "<script>window.evil=1</script>\"'&<img src=x onerror=window.evil=1>"
SCENES = ("hall-0", "room-1", "room-2", "room-3")


def frame_of(number: int, key: str) -> Frame:
    """A wall two metres away with a box before it; the number moves the box."""
    depth_m = np.full(CAMERA.size, 2.0, np.float32)
    depth_m[10:30, number : number + 20] = 1.2
    valid = np.ones(CAMERA.size, bool)
    valid[:4] = False
    depth_m[~valid] = 0
    pose = np.eye(4)
    pose[0, 3] = 0.01 * number
    raw_m = np.where(valid, depth_m + np.float32(0.01), np.float32(np.nan))
    raw_m[20:24] = np.nan
    rgb = np.zeros((*CAMERA.size, 3), np.uint8)
    rgb[..., 0] = 200
    return Frame(
        key=key,
        depth_m=depth_m,
        valid=valid,
        camera=CAMERA,
        rgb=rgb,
        T_world_cam=pose,
        labels={
            "normals": np.broadcast_to(np.array([0, 0, -32767], np.int16), (*CAMERA.size, 3)).copy(),
            "instance": (depth_m < 1.5).astype(np.uint16),
            "depth_raw": raw_m,
        },
    )


def noisy_of(frame: Frame, number: int) -> Capture:
    """7 mm too far, with more holes the higher the number."""
    valid = frame.valid.copy()
    valid[: 4 + number] = False
    return Capture(NoisyDepth(np.where(valid, frame.depth_m + np.float32(0.007), np.float32(0)), valid))


def build_corpus(
    folder: Path,
    *,
    num_frames: int = 20,
    shard_frames: int = 4,
    suffix: str = "",
    evil: str = "",
    rejected: tuple[int, ...] = (),
    fields: tuple[LabelSpec, ...] = FIELDS,
    colour_only: bool = False,
) -> Path:
    """Make a finished corpus; ``evil`` stands in its names, texts and labels, ``suffix`` in its scenes alone."""
    folder.mkdir(parents=True, exist_ok=True)
    name = evil.replace("/", "") or suffix
    refs = [
        FrameRef(f"made/{SCENES[number * len(SCENES) // num_frames]}{name}/{number:04d}", str(number))
        for number in range(num_frames)
    ]
    schema = CorpusSchema(
        *CAMERA.size,
        fields,
        shard_frames=shard_frames,
        produced=(RGB_NOISY,) if colour_only else (),
        noisy_depth=not colour_only,
    )
    items = list(plan_shards(iter(refs), splits={"train": 0.5, "val": 0.5}, seed=0, shard_frames=shard_frames))
    plan = write_plan(folder / "plan.parquet", items)
    manifest = {
        "name": f"made{evil}",
        "description": f"for tests {evil}",
        "seed": 1,
        "translator": {"name": "farther", "sensor": f"kinect{evil}"},
    }
    info = CorpusInfo.describe(
        name=f"made{evil}",
        identity={"plan": plan.digest, "name": name},
        manifest=manifest,
        source=SourceInfo(
            name=f"rooms{evil}",
            adapter_version=1,
            licence=Licence(f"CC BY-NC 4.0{evil}", True, "javascript:window.evil=1" if evil else "https://example.org"),
        ),
        translator=TranslatorInfo(name="farther", version=1, fingerprint="0" * 32),
        schema=schema,
        plan=plan,
    )
    root = folder / "corpus"
    with open_for_writing(root, info, folder / "plan.parquet") as corpus:
        for item in corpus.pending():
            with ShardWriter(corpus.storage, item, schema, fingerprint=info.fingerprint) as shard:
                for ref in item.frames:
                    number = int(ref.locator)
                    if number in rejected:
                        error = DecodeError(f"the file is cut short {evil}", remedy=f"copy it again {evil}")
                        shard.reject(ref, "read", error)
                        continue
                    frame = frame_of(number, ref.key)
                    colour = Capture(None, {"rgb_noisy": 255 - frame.rgb}) if frame.rgb is not None else Capture()
                    shard.add(frame, colour if colour_only else noisy_of(frame, number))
                shard.commit()
        corpus.finish()
    return root
