"""A run folder's page: ``report.html``, one self-contained file, and its figures as PNG beside it."""

from .write import comparison_of, write_report

__all__ = ["comparison_of", "write_report"]
