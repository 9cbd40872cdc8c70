"""What a folder, an archive or a bag seems to be, as a manifest: see ``proposal``."""

from depthforge.sources.proposing.proposal import Proposal, propose

__all__ = ["Proposal", "propose"]
