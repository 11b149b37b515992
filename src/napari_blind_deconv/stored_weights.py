"""The weights of a kernel in a JSON record: as numbers, or compressed if there are many."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["stored_weights", "weights_in"]

# JSON takes some 20 bytes for each number.
_MOST_NUMBERS = 4096
_TYPE = np.dtype("<f4")


def stored_weights(weights: NDArray[np.float32]) -> list[Any] | dict[str, Any]:
    """Return weights for JSON.

    Returns
    -------
    list or dict
        Nested lists of numbers. Of more than 4096 weights, as most volumes have, ``{"shape": sides,
        "zlib": text}``: the float32 numbers in little-endian byte order, compressed by zlib, in
        base64.
    """
    if weights.size <= _MOST_NUMBERS:
        numbers: list[Any] = weights.tolist()
        return numbers
    packed = zlib.compress(np.ascontiguousarray(weights, _TYPE).tobytes())
    return {"shape": list(weights.shape), "zlib": base64.b64encode(packed).decode("ascii")}


def weights_in(stored: Any) -> NDArray[np.float32]:
    """Return the weights of :func:`stored_weights`.

    Raises
    ------
    ValueError
        If they are damaged.
    """
    if not isinstance(stored, dict):
        return np.array(stored, np.float32)
    shape = tuple(map(int, stored["shape"]))
    length = _TYPE.itemsize * math.prod(shape)
    try:
        # No more is unpacked than the shape needs, whatever the text contains.
        unpacked = zlib.decompressobj().decompress(base64.b64decode(stored["zlib"]), length)
        return np.frombuffer(unpacked, _TYPE).reshape(shape).astype(np.float32)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"Expected the weights of a kernel, got damaged ones: {error}.") from error
