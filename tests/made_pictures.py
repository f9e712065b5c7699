"""A radiograph and a mask to draw."""

import numpy as np


def radiograph(rows: int = 60, columns: int = 80, dtype: type = np.uint8) -> np.ndarray:
    ramp = np.linspace(0, np.iinfo(dtype).max, rows * columns)
    return ramp.reshape(rows, columns).astype(dtype)


def box(rows: int = 60, columns: int = 80) -> np.ndarray:
    mask = np.zeros((rows, columns), bool)
    mask[20:40, 30:50] = True
    return mask
