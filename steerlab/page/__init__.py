"""The page of a record: one HTML file that needs no network and no script."""

from steerlab.page.page import page

__all__ = ["page"]
