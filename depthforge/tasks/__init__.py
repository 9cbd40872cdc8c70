"""What consumes a corpus: tasks on depth, each with its network, losses and figures; see ``tasks.base``."""

PLUGINS = ("enhancement", "grasping", "normals", "pose", "segmentation")
