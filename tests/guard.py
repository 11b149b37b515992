"""Time limit after which a test counts as hanging.

It is so long that a busy machine does not fail a test. No test may depend on the speed of the
machine.
"""

SECONDS = 600
MILLISECONDS = 1000 * SECONDS
