"""Sensors by the name of a camera: preset files, shipped ones in ``presets/`` and the user's own.

A preset is a YAML file::

    sensor: active_stereo                  # a registered sensor
    description: RealSense D435 at 640x480
    parameters: {baseline_m: 0.05, ...}    # fields of that sensor; the rest are its defaults
    camera: {width: 848, height: 480, ...}  # optional: whose pixels those are; `reframe` in a source block asks for it
    fit: {...}                             # optional: where the values come from, written by `depthforge fit`
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, WithJsonSchema

from depthforge.errors import ManifestError, UnknownNameError
from depthforge.manifest_problems import problems_of, raise_problems
from depthforge.pinhole import PinholeBlock
from depthforge.registry import sensors
from depthforge.sensors.base import Sensor
from depthforge.yaml_files import parse_yaml

__all__ = ["AnySensor", "Preset", "load_preset", "parse_sensor", "preset_camera", "preset_names"]

_FOLDER = Path(__file__).resolve().parent / "presets"
_SUFFIX = ".yaml"


class Preset(BaseModel):
    """A preset file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sensor: str = Field(description="name of the sensor that the parameters are of")
    description: str = Field(default="", description="which camera this is, and where its values come from")
    parameters: dict[str, Any] = Field(default_factory=dict, description="fields of the sensor")
    camera: PinholeBlock | None = Field(default=None, description="the camera whose pixels the parameters are of")
    fit: dict[str, Any] | None = Field(default=None, description="what `depthforge fit` measured")


def preset_names() -> list[str]:
    """Return the names of the presets that are shipped, sorted."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}"))


def load_preset(name: str | Path, *, field: str = "sensor") -> Preset:
    """Return a preset by its name, or from a file when ``name`` ends in .yaml; ``field`` is where it was asked for.

    Raises UnknownNameError for a name that is not shipped and ManifestError for a file that is missing or no preset.
    """
    if str(name).endswith(_SUFFIX):
        return _read(Path(name))
    if str(name) not in preset_names():
        raise UnknownNameError(
            "sensor preset", str(name), preset_names(), where=f"{field} (or the path of a .yaml file)"
        )
    return _shipped(str(name))


def preset_camera(name: str | Path) -> PinholeBlock:
    """Return the camera of a preset, by its name or its file.

    Raises what ``load_preset`` does, and ManifestError for a preset that is of no one camera.
    """
    camera = load_preset(name, field="reframe").camera
    if camera is None:
        known = [each for each in preset_names() if load_preset(each).camera is not None]
        raise ManifestError(
            f"the preset {Path(name).stem!r} states no camera",
            where="reframe",
            expected=f"one of {', '.join(known)}, or {{width, height, fx, fy, cx, cy}}",
            found=name,
            remedy="write the camera that is meant; in a preset file of your own, as its field `camera`",
        )
    return camera


def parse_sensor(value: str | Mapping[str, Any]) -> Sensor:
    """Return the sensor that a manifest writes.

    A text names a preset, a preset file or, with its defaults, a sensor. A mapping has ``name`` (a sensor) or
    ``preset``, and parameters over their defaults. Raises UnknownNameError or ManifestError.
    """
    if isinstance(value, str):
        is_preset = value.endswith(_SUFFIX) or value in preset_names()
        value = {"preset": value} if is_preset else {"name": value}
    fields = dict(value)
    name, preset = fields.pop("name", None), fields.get("preset")
    if name is None and not isinstance(preset, str | Path):
        raise ManifestError(
            "a sensor is a preset or a mapping with its name",
            where="sensor",
            expected=f"preset: one of {', '.join(preset_names())}, or name: one of {', '.join(sensors.names())}",
            found=value,
        )
    if name is None:
        assert isinstance(preset, str | Path)
        loaded = load_preset(preset)
        # Where a preset's file lies is of this machine: what remains of it is its name.
        name, fields = loaded.sensor, {**loaded.parameters, **fields, "preset": Path(preset).stem}
    if not isinstance(name, str) or name not in sensors.names():
        raise UnknownNameError("sensor", str(name), sorted({*preset_names(), *sensors.names()}), where="sensor")
    cls: type[Sensor] = sensors.get(name, where="sensor.name")
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        wrong = [problem.of(f"a parameter of the sensor {name} is wrong") for problem in problems_of(error, cls)]
        raise_problems(wrong, prefix="sensor")


AnySensor = Annotated[
    SerializeAsAny[Sensor],
    BeforeValidator(lambda value: parse_sensor(value) if isinstance(value, str | Mapping) else value),
    WithJsonSchema({"$comment": "sensor", "type": ["object", "string"]}),
]
"""A field that holds a sensor: written as the name of a preset or its file, or as a mapping with ``preset`` or ``name``
and parameters."""


@lru_cache(maxsize=64)
def _shipped(name: str) -> Preset:
    return _read(_FOLDER / f"{name}{_SUFFIX}")


def _read(path: Path) -> Preset:
    try:
        file = parse_yaml(path.expanduser().read_text(), where=path)
    except FileNotFoundError:
        raise ManifestError(
            "no such preset file",
            where=path,
            expected=f"a file, or one of {', '.join(preset_names())}",
            remedy="depthforge fit SENSOR --real MANIFEST --out FILE writes one",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError("the preset file cannot be read", where=path, found=error) from None
    try:
        return Preset.model_validate(file.value)
    except ValidationError as error:
        wrong = [problem.of("not a sensor preset") for problem in problems_of(error, Preset)]
        raise_problems(wrong, where=path, file=file)
