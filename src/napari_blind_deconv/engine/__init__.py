"""The computation: from an image and settings to snapshots and a result."""
