"""Report: one self-contained HTML page of a comparison: tables and plots."""

from dynasor_graph.report.page import write_report

__all__ = ["write_report"]
