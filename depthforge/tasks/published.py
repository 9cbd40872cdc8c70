"""What DCL's paper printed for its tasks, to stand beside what is measured here: other data, other budgets.

InteriorNet was translated and ScanNet tested on; here whatever a table says. Values compare in order at best. Of
enhancement the unit of RMSE and MAE and the range of SSIM are not stated, and "PSNR" is 20 ln(1 / RMSE) by the numbers
themselves (RMSE exp(PSNR / 20) is 1.00 to 1.07 in every row), so it stands under ``psnr_ln``. The first share of
normals is headed 16 degrees.

Of pose neither the representation of rotations is stated nor whether wrongly named objects count; of grasps, a success
is a frame with one of three grasps right. The printed mean of DCL w/ rgb in segmentation is not that of its classes.

Source: Shen et al., "DCL: differential contrastive learning for geometry-aware depth synthesis", RA-L 2022, Tables I
to VI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ABLATION", "PUBLISHED", "PublishedTable", "published_beside"]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A printed table: ``figures`` are ids of the task's figures, ``rows`` their values by the row's printed name."""

    source: str
    remark: str
    figures: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]


PUBLISHED: Final[Mapping[str, PublishedTable]] = {
    "enhancement": PublishedTable(
        "Shen et al., RA-L 2022, Table I",
        "InteriorNet to ScanNet; units of RMSE and MAE and the range of SSIM not stated",
        ("rmse_m", "mae_m", "psnr_ln", "ssim"),
        {
            "Baseline": (0.1871, 0.0716, 33.670, 0.7822),
            "Simulation": (0.1618, 0.0817, 36.561, 0.7955),
            "CycleGAN": (0.1448, 0.0911, 38.771, 0.8469),
            "CUT": (0.1757, 0.1186, 34.870, 0.8066),
            "Coupled": (0.1273, 0.0568, 41.522, 0.8524),
            "DCL": (0.1233, 0.0564, 42.340, 0.8692),
            "DCL w/ rgb": (0.1198, 0.0650, 42.980, 0.8754),
            "DCL*, 10 % fine-tuned": (0.0996, 0.0407, 47.424, 0.9096),
            "Supervised": (0.1062, 0.0437, 45.426, 0.9079),
        },
    ),
    "normals": PublishedTable(
        "Shen et al., RA-L 2022, Table II",
        "InteriorNet to ScanNet",
        ("median_deg", "mean_deg", "within_16", "within_22.5", "within_30"),
        {
            "Baseline": (21.127, 24.907, 0.392, 0.541, 0.679),
            "Simulation": (23.725, 27.473, 0.349, 0.485, 0.623),
            "CycleGAN": (22.321, 25.454, 0.367, 0.501, 0.653),
            "CUT": (22.492, 25.082, 0.361, 0.507, 0.665),
            "Coupled": (20.049, 24.629, 0.420, 0.557, 0.677),
            "DCL": (19.343, 22.724, 0.407, 0.579, 0.743),
            "DCL w/ rgb": (18.920, 23.805, 0.444, 0.579, 0.693),
            "CyCADA": (20.694, 24.763, 0.402, 0.550, 0.681),
            "CyCADA + DCL": (17.120, 21.567, 0.460, 0.649, 0.787),
            "DCL*, 10 % fine-tuned": (7.907, 13.881, 0.739, 0.815, 0.865),
            "Supervised": (8.950, 14.420, 0.725, 0.814, 0.868),
        },
    ),
    "pose": PublishedTable(
        "Shen et al., RA-L 2022, Table III, GraspNet",
        "synthetic to real GraspNet, ten objects that are not named",
        ("error_deg", "accuracy"),
        {
            "Baseline": (55.861, 57.153),
            "Simulation": (42.305, 83.333),
            "CycleGAN": (43.616, 78.056),
            "CUT": (39.722, 81.458),
            "Coupled": (38.869, 82.153),
            "DCL": (36.290, 87.917),
            "DANN": (32.058, 92.500),
            "UAN": (28.353, 94.090),
            "UAN + DCL": (23.469, 94.444),
            "DCL*, 10 % fine-tuned": (16.906, 98.264),
            "Supervised": (16.765, 99.653),
        },
    ),
    "grasping": PublishedTable(
        "Shen et al., RA-L 2022, Table IV, seen objects",
        "synthetic to real GraspNet; of similar objects DCL has 89.18, of novel ones 82.08",
        ("success_top3_iou50",),
        {
            "Baseline": (65.0260,),
            "Simulation": (80.2866,),
            "CycleGAN": (86.6146,),
            "CUT": (92.5000,),
            "Coupled": (83.5938,),
            "DCL": (94.2708,),
            "CyCADA": (92.3047,),
            "CyCADA + DCL": (95.1823,),
            "DCL*, 10 % fine-tuned": (97.7865,),
            "Supervised": (96.1849,),
        },
    ),
    "segmentation": PublishedTable(
        "Shen et al., RA-L 2022, Table V",
        "InteriorNet to ScanNet",
        ("miou_15", "miou_12"),
        {
            "Baseline": (7.60, 9.50),
            "Simulation": (13.61, 16.27),
            "CycleGAN": (13.41, 16.22),
            "CUT": (13.90, 16.88),
            "Coupled": (9.49, 11.57),
            "DCL": (15.12, 17.78),
            "DCL w/ rgb": (14.74, 17.64),
            "CyCADA": (20.02, 23.60),
            "CyCADA + DCL": (21.08, 24.67),
            "DCL*, 25 % fine-tuned": (57.01, 59.49),
            "Supervised": (53.22, 55.44),
        },
    ),
}

ABLATION: Final = PublishedTable(
    "Shen et al., RA-L 2022, Table VI",
    "weights of contrast and identity; InteriorNet to ScanNet with colour; the last row is DCL w/ rgb of Table I",
    ("rmse_m", "mae_m", "psnr_ln", "ssim"),
    {
        "alpha 1.5, beta 0": (0.1813, 0.0701, 34.31, 0.7888),
        "alpha 0, beta 1": (0.2624, 0.2104, 26.97, 0.7181),
        "alpha 1, beta 1": (0.1213, 0.0653, 42.423, 0.8767),
        "alpha 2, beta 1": (0.1399, 0.0664, 39.65, 0.8441),
        "alpha 1.5, beta 1": (0.1198, 0.0650, 42.98, 0.8754),
    },
)


def published_beside(task: str, which: Literal["task", "ablation", "none"]) -> PublishedTable | None:
    """Return the printed rows that stand beside a table of ``task``, None where there are none."""
    if which == "ablation":
        return ABLATION
    return PUBLISHED.get(task) if which == "task" else None
