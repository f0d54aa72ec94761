# SPDX-License-Identifier: Apache-2.0
"""The header of an array as numpy stores it, always of the same length.

numpy's own headers are of different lengths in its versions.
"""

from __future__ import annotations

from collections.abc import Sequence

HEADER_BYTES = 128  # numpy aligns the numbers to 64


def npy_header(dtype: str, shape: Sequence[int]) -> bytes:
    """The bytes before the numbers of an array in C order; `dtype` as numpy spells it: `'<f8'`."""
    size = tuple(map(int, shape))
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {size}, }}"
    begin = b'\x93NUMPY\x01\x00' + (HEADER_BYTES - 10).to_bytes(2, 'little')
    return (begin + text.encode()).ljust(HEADER_BYTES - 1) + b'\n'
