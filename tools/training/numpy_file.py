# SPDX-License-Identifier: Apache-2.0
"""Arrays that numpy has stored, of any origin: no pickle is run, and no pipe is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.text import reason_of

_KINDS = 'biufU'  # of numpy: numbers and texts


def named_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name: numbers and texts; OSError or ValueError says why not."""
    handle = open_regular(file)
    try:
        with open(handle, 'rb') as stream, np.load(stream, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile and numpy raise what they like at odd bytes
        raise ValueError(f'it is no archive of arrays: {reason_of(error)}') from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            raise ValueError(f'{name} is no array of numbers or texts')
    return found


def mapped_array(file: Path) -> np.ndarray:
    """The numbers of an .npy, a row or more, left on the disk; OSError or ValueError."""
    os.close(open_regular(file))
    try:
        array = np.load(file, mmap_mode='r', allow_pickle=False)
        fits = array.ndim > 0 and array.dtype.kind in 'biuf'
    except Exception as error:  # as above
        raise ValueError(f'it is no array: {reason_of(error)}') from error
    if not fits:
        raise ValueError('it has no rows of numbers')
    return array
