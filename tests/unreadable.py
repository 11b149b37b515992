"""An array that is partly unreadable, like a file with a damaged beginning."""

import numpy as np


class Unreadable:
    """A stack whose first planes cannot be read."""

    def __init__(self, planes: np.ndarray, unreadable: int) -> None:
        self.planes, self.unreadable = planes, unreadable
        self.shape, self.dtype = planes.shape, planes.dtype

    def __getitem__(self, index):
        if index[0] < self.unreadable:
            raise OSError("damaged")
        return self.planes[index]
