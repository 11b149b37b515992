"""The napari plugin: the only package that imports napari, Qt and magicgui."""
