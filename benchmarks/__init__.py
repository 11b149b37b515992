"""Benchmarks of quality, speed and stability. They are not part of the wheel or of the tests.

``python -m benchmarks SUITE ...`` runs suites, and ``python -m benchmarks.report`` prints tables.
A new method is one file in ``methods``, and a new suite is one file in ``suites``.
"""

from benchmarks.kernel_networks import register

register()
