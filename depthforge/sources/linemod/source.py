"""LineMOD: 15 household objects, 18 thousand real Kinect images, in BOP's form or as DenseFusion prepared it.

``layout: bop`` is the data set ``lm`` of BOP (``test``, ``train``, ``train_pbr``; scene n shows object n in clutter;
read by the same code as ``bop``, which reads ``lmo`` too). ``layout: preprocessed`` is Linemod_preprocessed, on which
DenseFusion, PVN3D and DCL report (see ``files``). Both give the same labels; the real depth is noisy, and
``depth: rendered`` makes the clean side from the models, as DCL does. Objects 3 and 7 have no good models and are not
in the preprocessed form; 3, 7, 10 and 11 look alike under some rotation (BOP's models_info.json says which).
Source: Hinterstoisser et al., "Model based training, detection and pose estimation of texture-less 3D objects in
heavily cluttered scenes", ACCV 2012; Wang et al., "DenseFusion", CVPR 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from depthforge.frame import Licence
from depthforge.registry import sources
from depthforge.sources.bop.files import BopFiles
from depthforge.sources.bop.object_files import ObjectFiles
from depthforge.sources.bop.posed_images import ObjectsConfig, PosedObjects
from depthforge.sources.linemod.files import PreprocessedFiles

__all__ = ["NUM_OBJECTS", "Linemod", "LinemodConfig"]

NUM_OBJECTS = 15


class LinemodConfig(ObjectsConfig):
    """The ``source`` block of a manifest that reads LineMOD."""

    root: Path = Field(description="Linemod_preprocessed or lm, or the folder that holds it")
    layout: Literal["bop", "preprocessed"] = Field(
        default="preprocessed", description="BOP's `lm`, or the folder Linemod_preprocessed of DenseFusion"
    )
    split: str = Field(
        default="test",
        pattern=r"^\w+$",
        description="preprocessed: train, test or all (train.txt, test.txt); bop: test, train, train_pbr",
    )
    objects: tuple[int, ...] | None = Field(
        default=None, description="ids of the objects whose scenes to read, 1 to 15; default: all"
    )
    models: str = Field(default="models", pattern=r"^\w+$", description="bop: models, or models_eval (fewer triangles)")

    @model_validator(mode="after")
    def _split_and_objects_exist(self) -> LinemodConfig:
        if self.layout == "preprocessed" and self.split not in ("train", "test", "all"):
            raise ValueError(f"the preprocessed layout has the splits train, test and all, not {self.split!r}")
        if self.layout == "preprocessed" and self.models != "models":
            raise ValueError("the preprocessed layout has one folder of models")
        unknown = [number for number in self.objects or () if not 1 <= number <= NUM_OBJECTS]
        if unknown:
            raise ValueError(f"LineMOD's objects are 1 to {NUM_OBJECTS}, not {unknown[0]}")
        if self.objects is not None and self.split.startswith("train_pbr"):
            raise ValueError("a scene of train_pbr shows many objects: leave `objects` out")
        return self


@sources.register("linemod")
class Linemod(PosedObjects):
    """LineMOD; keys are ``linemod/object-08/000123``, or ``linemod/test-000008/000123`` in BOP's form."""

    Config = LinemodConfig
    config: LinemodConfig
    licence: Licence = Licence(
        "LineMOD's copies differ in their terms, and some state none: research use",
        True,
        "https://bop.felk.cvut.cz/datasets/",
    )

    def _make_files(self) -> ObjectFiles:
        config, root = self.config, self.config.root.expanduser()
        if config.layout == "preprocessed":
            return PreprocessedFiles(root, config.split, config.objects)
        return BopFiles(root, "linemod", config.split, inner="lm", models=config.models, only=config.objects)
