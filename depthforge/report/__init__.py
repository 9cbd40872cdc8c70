"""A corpus as one HTML page: pictures, plots and numbers that open from disk, with no network."""

from depthforge.report.build import Report, build_report, write_report
from depthforge.report.tables import task_section

__all__ = ["Report", "build_report", "task_section", "write_report"]
