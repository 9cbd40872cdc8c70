"""The four trees that KITTI is published in: where each keeps the scan, the images, the calibration and the poses.

::

    raw               <date>/{calib_cam_to_cam,calib_velo_to_cam,calib_imu_to_velo}.txt
                      <date>/<drive>_sync/{image_00..03,velodyne_points,oxts}/data/%010d.{png,bin,txt}
    depth_completion  {train,val}/<drive>_sync/proj_depth/{groundtruth,velodyne_raw}/image_{02,03}/%010d.png
                      val_selection_cropped/{groundtruth_depth,velodyne_raw,image,intrinsics}/...
    object            {training,testing}/{image_2,image_3,velodyne,calib,label_2}/%06d.*
    odometry          sequences/%02d/{image_0..3/%06d.png, velodyne/%06d.bin, calib.txt}, poses/%02d.txt

Each layout lists its frames without opening an image or a scan, and says for one frame what it is made of.
"""

from __future__ import annotations

from pathlib import Path

from depthforge.sources._kitti_benchmarks import Objects, Odometry
from depthforge.sources._kitti_drives import DepthCompletion, Raw, Selection
from depthforge.sources._kitti_parts import DepthKind, KittiLayout, LayoutName, Split

__all__ = ["layout_of"]


def layout_of(
    name: LayoutName, root: Path, camera: int, *, split: Split, depth: DepthKind, raw_root: Path | None
) -> KittiLayout:
    """Return the layout of a configuration."""
    if name == "raw":
        return Raw(root, camera)
    if name == "object":
        return Objects(root, camera, split)
    if name == "odometry":
        return Odometry(root, camera)
    if split == "val_selection_cropped":
        return Selection(root, camera, depth)
    return DepthCompletion(root, camera, split, depth, raw_root)
