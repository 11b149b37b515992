"""A button that opens the page on the panel in the documentation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton

__all__ = ["HelpButton", "panel_page"]

_PAGE = "napari.html"  # made from docs/napari.md


def panel_page() -> str | None:
    """Return the address of the page on the panel; None if the package does not state it.

    Only releases state the address of their documentation (see hatch_build.py).
    """
    try:
        addresses = metadata("napari-blind-deconv").get_all("Project-URL") or []
    except PackageNotFoundError:  # the source code, without its metadata
        addresses = []
    stated = dict(entry.split(", ", 1) for entry in addresses)
    site = stated.get("Documentation")
    return None if site is None else f"{site.rstrip('/')}/{_PAGE}"


class HelpButton(QPushButton):
    """A button that opens the page on the panel in a browser, if its address is known."""

    def __init__(self) -> None:
        super().__init__("Help")
        self._page = panel_page()
        self.setEnabled(self._page is not None)
        self.setToolTip(
            "This copy of the plugin is no release, and does not state where its documentation is."
            if self._page is None
            else f"Open the page on this panel in a browser: {self._page}."
        )
        self.clicked.connect(self._open)

    def _open(self) -> None:
        if self._page is not None:
            QDesktopServices.openUrl(QUrl(self._page))
