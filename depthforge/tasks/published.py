"""What DCL's paper printed for its tasks, to stand beside what is measured here: other data, other budgets.

InteriorNet was translated and ScanNet tested on; here whatever a table says. Values compare in order at best. Of
enhancement the unit of RMSE and MAE and the range of SSIM are not stated, and "PSNR" is 20 ln(1 / RMSE) by the numbers
themselves (RMSE exp(PSNR / 20) is 1.00 to 1.07 in every row), so it stands under ``psnr_ln``. The first share of
normals is headed 16 degrees.

Source: Shen et al., "DCL: differential contrastive learning for geometry-aware depth synthesis", RA-L 2022, Tables I
and II.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PUBLISHED", "PublishedTable"]


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
}
