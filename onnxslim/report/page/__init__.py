"""A report as one HTML page that needs nothing else: no network, no files beside it, no other program."""

from onnxslim.report.page.render import page_of

__all__ = ["page_of"]
