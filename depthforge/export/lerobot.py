"""LeRobot v3: an episode for each scene, a Parquet file for each, and tables of episodes and tasks in ``meta/``.

Depth is a 16-bit PNG in millimetres, feature ``observation.images.depth_noisy`` of shape (H, W, 1) with
``is_depth_map`` and ``depth_unit: mm``, so nothing goes through lossy video; K and pose are ``observation.camera.K``
and ``.T_world_cam``. LeRobot wants every feature in every frame and of one shape: what varies is not carried. A corpus
knows no time: ``fps`` is 1, and a timestamp is the number of the frame.
Source: huggingface/lerobot, datasets/utils.py (v3.0: paths, info.json, features); #3644 and #3899 for depth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from depthforge.export.base import ExportFrame, Files, Format, Part, Receipt
from depthforge.export.hf_columns import IMAGE_TYPE, Column, array_column, feature_metadata
from depthforge.export.images import fits_png, png
from depthforge.export.row_writer import write_rows
from depthforge.labels.spec import LabelSpec
from depthforge.registry import formats

__all__ = ["LeRobot"]

_STEP_M: Final = 1e-3
_FILES_IN_CHUNK: Final = 1000
_FPS: Final = 1
_TASK: Final = "depth"
_INDEX: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@formats.register("lerobot")
class LeRobot(Format):
    """LeRobot v3 episodes with 16-bit depth, its unit, K and poses."""

    depth_kinds = ("uint16",)
    works_by = "scene"

    @property
    def step_m(self) -> float:
        """A millimetre, which LeRobot's depth_unit names."""
        return _STEP_M

    def losses(self) -> list[str]:
        carried = {spec.name for spec in self._carried()}
        told = []
        for spec in self.labels:
            if spec.layout == "ragged":
                told.append(f"{spec.name}: LeRobot holds features of one shape, and its rows vary")
            elif spec.name not in carried:
                told.append(f"{spec.name}: LeRobot wants a feature in every frame, and some have none")
        return [*super().losses(), *told]

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        columns = self._columns()
        name = f"data/{_chunk_file(part.serial)}.parquet"
        write_rows(out, name, columns, feature_metadata(columns, {}), (self._row(frame) for frame in frames))
        return {}

    def finish(self, parts: Sequence[Part], receipts: Iterator[Receipt], out: Files) -> None:
        total = sum(part.stop - part.first for part in parts)
        splits: dict[str, list[int]] = {}
        for part in parts:
            splits.setdefault(part.split, []).append(part.serial)
        info = {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": len(parts),
            "total_frames": total,
            "total_tasks": 1,
            "chunks_size": _FILES_IN_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": _FPS,
            "splits": {split: f"{serials[0]}:{serials[-1] + 1}" for split, serials in splits.items()},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": self._features(),
        }
        out.write("meta/info.json", (json.dumps(info, indent=4) + "\n").encode())
        out.write("meta/stats.json", b"{}\n")
        write_rows(out, "meta/episodes/chunk-000/file-000.parquet", _EPISODES, {}, map(_episode, parts))
        write_rows(out, "meta/tasks.parquet", _TASKS, _TASKS_METADATA, [{"task_index": 0, "task": _TASK}])

    def _carried(self) -> list[LabelSpec]:
        return [spec for spec in self.labels if spec.layout != "ragged" and self._in_every_frame(spec)]

    def _in_every_frame(self, spec: LabelSpec) -> bool:
        if spec.layout == "frame" and np.dtype(spec.dtype).kind == "f":
            return True  # NaN says that there is none
        index = self.reader.index
        return spec not in self.reader.schema.fields or bool(index.table([f"has_{spec.name}"])[0].to_numpy().all())

    def _columns(self) -> list[Column]:
        """Return the columns of the data; kept, since what each frame has is asked of the index."""
        if not hasattr(self, "_kept"):
            size = (self.reader.schema.height, self.reader.schema.width)
            columns = [Column(_image_name(name), IMAGE_TYPE, {"_type": "Image"}) for name in self.depths]
            for spec in self._carried():
                if spec.name == "rgb" or fits_png(spec):
                    columns.append(Column(_image_name(spec.name), IMAGE_TYPE, {"_type": "Image"}))
                else:
                    columns.append(array_column(_state_name(spec), spec.shape(*size) or (1,), spec.dtype))
            kinds = {"timestamp": "float32"}
            for name in _INDEX:
                columns.append(array_column(name, (), kinds.get(name, "int64")))
            self._kept = columns
        return self._kept

    def _features(self) -> dict[str, Any]:
        height, width = self.reader.schema.height, self.reader.schema.width
        axes = ["height", "width", "channels"]
        depth_map = {"is_depth_map": True, "depth_unit": "mm", "quantity": "planar z", "no_measurement": 0}
        features: dict[str, Any] = {
            _image_name(name): {"dtype": "image", "shape": [height, width, 1], "names": axes, "info": depth_map}
            for name in self.depths
        }
        for spec in self._carried():
            if spec.name == "rgb" or fits_png(spec):
                shape = [height, width, *(spec.trailing or (1,))]
                features[_image_name(spec.name)] = {"dtype": "image", "shape": shape, "names": axes}
            else:
                shape = list(spec.shape(height, width) or (1,))
                features[_state_name(spec)] = {"dtype": spec.dtype, "shape": shape, "names": None}
        for name in _INDEX:
            kind = "float32" if name == "timestamp" else "int64"
            features[name] = {"dtype": kind, "shape": [1], "names": None}
        return features

    def _row(self, frame: ExportFrame) -> dict[str, Any]:
        row: dict[str, Any] = {_image_name(name): png(frame.depth_steps(name, _STEP_M)) for name in self.depths}
        size = (self.reader.schema.height, self.reader.schema.width)
        for spec in self._carried_once():
            file = frame.jpeg() if spec.name == "rgb" else None
            array = None if file is not None else frame.label(spec.name)
            if spec.name == "rgb" or fits_png(spec):
                row[_image_name(spec.name)] = file if array is None else png(array)
            else:
                shape = spec.shape(*size) or (1,)
                row[_state_name(spec)] = np.full(shape, np.nan) if array is None else array.reshape(shape)
        counted = {"timestamp": float(frame.index), "frame_index": frame.index, "index": frame.position}
        return {**row, **counted, "episode_index": frame.part.serial, "task_index": 0}

    def _carried_once(self) -> list[LabelSpec]:
        names = {column.name for column in self._columns()}
        return [spec for spec in self.labels if {_image_name(spec.name), _state_name(spec)} & names]


def _image_name(field: str) -> str:
    return f"observation.images.{field}"


def _state_name(spec: LabelSpec) -> str:
    return f"observation.camera.{spec.name}" if spec.layout == "frame" else f"observation.{spec.name}"


def _chunk_file(serial: int) -> str:
    chunk, file = divmod(serial, _FILES_IN_CHUNK)
    return f"chunk-{chunk:03d}/file-{file:03d}"


def _episode(part: Part) -> Mapping[str, Any]:
    chunk, file = divmod(part.serial, _FILES_IN_CHUNK)
    return {
        "episode_index": part.serial,
        "tasks": np.array([_TASK], object),
        "length": part.stop - part.first,
        "data/chunk_index": chunk,
        "data/file_index": file,
        "dataset_from_index": part.first,
        "dataset_to_index": part.stop,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        "scene": part.scene,
    }


def _text(name: str) -> Column:
    return Column(name, pa.string(), {"dtype": "string", "_type": "Value"})


_EPISODES: Final = [
    array_column("episode_index", (), "int64"),
    Column("tasks", pa.list_(pa.string()), {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}),
    *(
        array_column(name, (), "int64")
        for name in (
            *("length", "data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"),
            *("meta/episodes/chunk_index", "meta/episodes/file_index"),
        )
    ),
    _text("scene"),
]
_TASKS: Final = [array_column("task_index", (), "int64"), _text("task")]
# pandas takes the task for the index of the table, as LeRobot does.
_TASKS_METADATA: Final = {
    b"pandas": json.dumps(
        {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [
                {
                    "name": "task_index",
                    "field_name": "task_index",
                    "pandas_type": "int64",
                    "numpy_type": "int64",
                    "metadata": None,
                },
                {
                    "name": "task",
                    "field_name": "task",
                    "pandas_type": "unicode",
                    "numpy_type": "object",
                    "metadata": None,
                },
            ],
        }
    ).encode()
}
