"""Measurements of quality and speed; not part of the wheel, nor of the tests."""
