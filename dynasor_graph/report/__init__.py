"""Report: self-contained HTML pages of a comparison and of a replay: tables and plots."""

from dynasor_graph.report.fronts import write_fronts
from dynasor_graph.report.page import write_report

__all__ = ["write_fronts", "write_report"]
