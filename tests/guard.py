"""How long a test waits before something counts as hanging.

Long enough that a busy machine never fails a test: none may depend on how fast it is.
"""

SECONDS = 600
MILLISECONDS = 1000 * SECONDS
