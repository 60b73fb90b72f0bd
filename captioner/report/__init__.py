"""An audit or a comparison for people: one HTML file that needs no network, Markdown and JSON of the same."""

from captioner.report.writing import Written, folder_for, write_comparison, write_report

__all__ = ["Written", "folder_for", "write_comparison", "write_report"]
