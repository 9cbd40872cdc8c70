"""A spinning lidar from its sparse scans; ``estimator`` is the whole of it."""

from depthforge.fitting.lidar.estimator import LidarEstimator

__all__ = ["LidarEstimator"]
