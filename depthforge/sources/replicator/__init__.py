"""Output of NVIDIA Replicator's BasicWriter (Isaac Sim) as a source."""

from depthforge.sources.replicator.source import Replicator, ReplicatorConfig

__all__ = ["Replicator", "ReplicatorConfig"]
