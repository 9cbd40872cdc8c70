"""Hypersim; ``source`` is the reader."""

from depthforge.sources.hypersim.source import Hypersim, HypersimConfig

__all__ = ["Hypersim", "HypersimConfig"]
