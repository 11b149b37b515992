"""``python -m napari_blind_deconv.cli`` is ``blind-deconv``."""

from napari_blind_deconv.cli import app

app()
