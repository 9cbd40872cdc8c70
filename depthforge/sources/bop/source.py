"""BOP: the benchmark for 6-D object pose; LM-O, YCB-V, T-LESS, HB, TUD-L, IC-BIN, ITODD and any set in its layout.

Depth is uint16, times ``depth_scale`` it is planar z in millimetres, 0 where nothing was measured; poses are model to
camera, OpenCV axes, millimetres; both become metres. One row of ``scene_gt.json`` is one row of every object label:
id, pose, box, pixel counts, a bit of ``object_silhouettes`` (from ``mask``) and ``instance`` = row + 1 (from
``mask_visib``). ``object_px_count_valid`` counts the measured pixels of a silhouette, as BOP does, and is counted
again when noise has changed them. Real or physically rendered (``train_pbr``) images are read as they are; ``depth:
rendered`` makes clean depth for real ones (see ``objects``), the files are in ``files``.
At 640x480 one core reads 90 images a second with all labels of seven objects (16 PNG files), 270 with depth and colour
alone; rendered 20, and 10 with eleven objects and the plane behind them.
Not read: the webdataset and imagewise layouts, and cameras that are no pinholes (HOT3D).
Source: Hodan et al., "BOP: benchmark for 6D object pose estimation", ECCV 2018; thodan/bop_toolkit.
"""

from __future__ import annotations

from pydantic import Field

from depthforge.frame import Licence
from depthforge.registry import sources
from depthforge.sources.bop.files import BopFiles
from depthforge.sources.bop.object_files import ObjectFiles
from depthforge.sources.bop.posed_images import ObjectsConfig, PosedObjects
from depthforge.sources.rgbd_config import LicenceBlock

__all__ = ["Bop", "BopConfig"]


class BopConfig(ObjectsConfig):
    """The ``source`` block of a manifest that reads a BOP data set."""

    dataset: str = Field(default="bop", pattern=r"^[^/]+$", description="first part of every frame key: ycbv, tless")
    split: str = Field(
        default="test", pattern=r"^\w+$", description="folder of the split: test, train_pbr, test_primesense, val ..."
    )
    sensor: str = Field(
        default="", pattern=r"^\w*$", description="suffix of one of several cameras: cam1 reads depth_cam1"
    )
    scenes: tuple[int, ...] | None = Field(default=None, description="numbers of the scenes to read; default: all")
    targets: bool = Field(default=False, description="only the images that test_targets_bop19.json (or 24) lists")
    models: str = Field(
        default="models",
        pattern=r"^\w+$",
        description="folder of the models to render: models, models_eval (fewer triangles), models_cad ...",
    )
    licence: LicenceBlock = Field(
        default=LicenceBlock(name="not stated; see the data set's page on bop.felk.cvut.cz", non_commercial=True),
        description="the terms of this data set, for the card of what is made from it",
    )


@sources.register("bop")
class Bop(PosedObjects):
    """One split of a BOP data set; keys are ``<dataset>/<split>-<scene>/<image>``."""

    Config = BopConfig
    config: BopConfig
    licence = Licence("stated in the manifest", True)

    def __init__(self, config: BopConfig) -> None:
        super().__init__(config)
        self.licence = Licence(**config.licence.model_dump())

    def _make_files(self) -> ObjectFiles:
        config = self.config
        return BopFiles(
            config.root.expanduser(),
            config.dataset,
            config.split,
            sensor=config.sensor,
            models=config.models,
            only=config.scenes,
            targets=config.targets,
        )
