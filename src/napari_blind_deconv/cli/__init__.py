"""The command line, ``blind-deconv``."""

from napari_blind_deconv.cli.commands import app

__all__ = ["app"]
