"""Measurements of quality, speed and stability; not part of the wheel, nor of the tests.

``python -m benchmarks SUITE ...`` runs suites, ``python -m benchmarks.report`` writes their tables.
A new method is one file in ``methods``, a new suite one file in ``suites``.
"""

from benchmarks.kernel_networks import register

register()
