"""The command line, ``blind-deconv``."""

from napari_blind_deconv.cli import psf_commands  # noqa: F401  (adds its commands)
from napari_blind_deconv.cli.commands import app

__all__ = ["app"]
