"""Clean depth in, sensor-real depth out, every label carried.

``import depthforge`` is light: torch, ray and open3d load only when something that needs them is used.
"""

__version__ = "0.1.0"
