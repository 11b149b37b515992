"""The napari plugin: the only room that knows napari, Qt and magicgui."""
