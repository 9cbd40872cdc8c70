"""What every frame of a corpus stores: its arrays, and depth as numbers on disk.

Depth is uint16 steps of a fixed length with 0 for "no measurement" (a step of 1 mm reaches 65.5 m), or float32 with
NaN; zstd makes half to a third of the uint16 of what it makes of float32. Decoding a 640x480 image takes 0.1 ms in
NumPy alone; ``encode`` makes the steps. The alternative, scaling by the image's own maximum, loses the metric scale and
is what damaged several public data sets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.encoding import Codec, ColourEncoding, DepthEncoding
from depthforge.errors import CorpusError, InputError
from depthforge.frame import BoolImage, DepthImage
from depthforge.labels.catalogue import RGB
from depthforge.labels.spec import LabelSpec

__all__ = [
    "DEPTH_CLEAN",
    "DEPTH_NOISY",
    "OFFSETS",
    "CorpusSchema",
    "decode_depth",
    "decode_depth_into",
    "offsets_name",
]

DEPTH_CLEAN = "depth_clean"
DEPTH_NOISY = "depth_noisy"
# The attribute of a ragged array that says at which row each frame begins, and where the last one ends.
OFFSETS = "offsets"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Rows of a ragged label in an average frame, for estimates of size only.
_EXPECTED_ROWS = 32


def offsets_name(label: str) -> str:
    """Return the name under which a batch says where the rows of each frame begin in a ragged label."""
    return f"{label}_offsets"


@dataclass(frozen=True)
class CorpusSchema:
    """The arrays of a corpus: image size, encodings, and the ``fields`` (rgb, labels, K, T_world_cam) beside depth.

    ``noisy_depth`` says whether there is noisy depth beside the clean, ``produced`` which other images the translator
    made; every frame has all of these. ``colour`` is how ``rgb`` is held, if it is one of the fields. Raises InputError
    when names collide or an image dimension has two lengths.
    """

    height: int
    width: int
    fields: tuple[LabelSpec, ...]
    depth: DepthEncoding = field(default_factory=DepthEncoding)
    codec: Codec = field(default_factory=Codec)
    shard_frames: int = 256
    produced: tuple[LabelSpec, ...] = ()
    noisy_depth: bool = True
    colour: ColourEncoding = field(default_factory=ColourEncoding)

    def __post_init__(self) -> None:
        names = [DEPTH_CLEAN, DEPTH_NOISY]
        lengths = {"frame": 0, "y": self.height, "x": self.width}
        for spec in (*self.produced, *self.fields):
            names += [spec.name, offsets_name(spec.name)] if spec.layout == "ragged" else [spec.name]
            if not _NAME.fullmatch(spec.name) or len(spec.trailing) != len(spec.trailing_dims):
                raise InputError("a label needs a plain name and a name for each trailing dimension", where=spec.name)
            if spec.layout == "image":
                for dim, length in zip(spec.trailing_dims, spec.trailing, strict=True):
                    if lengths.setdefault(dim, length) != length:
                        raise InputError(f"the dimension {dim!r} has two lengths", where=spec.name)
        if len(names) != len(set(names)):
            raise InputError("two arrays of the corpus have the same name", found=sorted(names))
        if self.codec.name not in ("zstd", "none") and self.codec.level > 9:
            raise InputError(
                f"levels of {self.codec.name} end at 9, as blosc's do",
                where="corpus.codec.level",
                found=self.codec.level,
            )

    @cached_property
    def depth_specs(self) -> tuple[LabelSpec, ...]:
        """(clean, noisy) depth, or (clean,), described as any other image of the corpus."""
        stored_as_steps = self.depth.dtype == "uint16"

        def spec(name: str, description: str) -> LabelSpec:
            return LabelSpec(
                name,
                self.depth.dtype,
                "image",
                description,
                missing=0 if stored_as_steps else math.nan,
                scale=self.depth.scale_m if stored_as_steps else 1.0,
                units="m",
            )

        clean = spec(DEPTH_CLEAN, "depth as rendered")
        return (
            (clean, spec(DEPTH_NOISY, "depth as the sensor would have measured it")) if self.noisy_depth else (clean,)
        )

    @cached_property
    def stored(self) -> tuple[LabelSpec, ...]:
        """Every field of a frame in the order in which it is written: depth, what else was produced, ``fields``."""
        return (*self.depth_specs, *self.produced, *self.fields)

    def is_jpeg(self, field: str) -> bool:
        """Say whether the array of a field holds JPEG files."""
        return field == RGB.name and self.colour.format == "jpeg"

    def dimension_names(self, spec: LabelSpec) -> tuple[str, ...]:
        """Return the dimension names of the array of ``spec``.

        Dimensions of matrices carry their length (``row_3``, ``row_4``): a name has one length in a zarr group.
        """
        if spec.layout == "image":
            return ("frame", "y", "x", *spec.trailing_dims)
        sized = tuple(f"{dim}_{length}" for dim, length in zip(spec.trailing_dims, spec.trailing, strict=True))
        return ("frame" if spec.layout == "frame" else f"{spec.name}_row", *sized)

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one frame before compression, depth included; ragged labels counted as 32 rows."""
        return sum(
            math.prod(spec.shape(self.height, self.width, _EXPECTED_ROWS)) * np.dtype(spec.dtype).itemsize
            for spec in self.stored
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data that :meth:`from_json` reads back."""
        return {
            "height": self.height,
            "width": self.width,
            "shard_frames": self.shard_frames,
            "depth": self.depth.model_dump(mode="json"),
            "codec": self.codec.model_dump(mode="json"),
            "colour": self.colour.model_dump(mode="json"),
            "noisy_depth": self.noisy_depth,
            "produced": [_spec_to_json(spec) for spec in self.produced],
            "fields": [_spec_to_json(spec) for spec in self.fields],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CorpusSchema:
        """Read what :meth:`to_json` wrote; CorpusError when it is something else."""
        try:
            return cls(
                height=int(value["height"]),
                width=int(value["width"]),
                shard_frames=int(value["shard_frames"]),
                depth=DepthEncoding.model_validate(value["depth"]),
                codec=Codec.model_validate(value["codec"]),
                fields=tuple(_spec_from_json(spec) for spec in value["fields"]),
                produced=tuple(_spec_from_json(spec) for spec in value["produced"]),
                noisy_depth=bool(value["noisy_depth"]),
                colour=ColourEncoding.model_validate(value["colour"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError("the schema of the corpus cannot be read", where="corpus.json", found=error) from error


def _spec_to_json(spec: LabelSpec) -> dict[str, Any]:
    missing = "NaN" if math.isnan(spec.missing) else spec.missing
    value = {
        **asdict(replace(spec, noise=None)),
        "trailing": list(spec.trailing),
        "trailing_dims": list(spec.trailing_dims),
        "missing": missing,
        "changed_by_noise": spec.noise is not None,
    }
    del value["noise"]  # a function: the source has it
    return value


def _spec_from_json(value: Mapping[str, Any]) -> LabelSpec:
    missing = math.nan if value["missing"] == "NaN" else value["missing"]
    trailing = {"trailing": tuple(value["trailing"]), "trailing_dims": tuple(value["trailing_dims"])}
    fields = {name: item for name, item in value.items() if name != "changed_by_noise"}
    return LabelSpec(**{**fields, **trailing, "missing": missing})


def decode_depth(stored: npt.NDArray[Any], encoding: DepthEncoding) -> tuple[DepthImage, BoolImage]:
    """Return (depth_m float32 metres, 0.0 where there is no measurement; valid bool), both of the shape of ``stored``.

    Each value is the float32 nearest to step times scale; encoding it again gives the same step.
    """
    depth_m, valid = np.empty(stored.shape, np.float32), np.empty(stored.shape, np.bool_)
    decode_depth_into(stored, encoding, depth_m, valid)
    return depth_m, valid


def decode_depth_into(stored: npt.NDArray[Any], encoding: DepthEncoding, depth_m: DepthImage, valid: BoolImage) -> None:
    """As :func:`decode_depth`, into arrays of the same shape; leaves Python's lock meanwhile."""
    if encoding.dtype == "uint16":
        np.not_equal(stored, 0, out=valid)
        steps_per_metre = round(1 / encoding.scale_m)
        if 0 < steps_per_metre < 2**24 and 1 / steps_per_metre == encoding.scale_m:
            # A quotient k / n of whole numbers below 2^24 is no closer to the middle between two float32 than 2^-49 of
            # itself, and the double product is off by 2^-52 at most: both round to the same float32, this in half the
            # time.
            np.divide(stored, steps_per_metre, out=depth_m, dtype=np.float32)
        else:
            np.multiply(stored, encoding.scale_m, out=depth_m, dtype=np.float64, casting="same_kind")
    else:
        np.equal(stored, stored, out=valid)
        depth_m[...] = 0
        np.copyto(depth_m, stored, where=valid)
