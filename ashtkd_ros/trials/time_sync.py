# SPDX-License-Identifier: Apache-2.0
"""Whether the system's clock is set by a time server, as the kernel tells: adjtimex(2)."""

from __future__ import annotations

import ctypes

_STA_UNSYNC, _MICRO = 0x0040, 1e6


class _Timex(ctypes.Structure):
    """struct timex of Linux, 64 bits, up to what is read here; the rest is room."""

    _fields_ = (
        ('modes', ctypes.c_uint),
        ('offset', ctypes.c_long),
        ('freq', ctypes.c_long),
        ('maxerror', ctypes.c_long),
        ('esterror', ctypes.c_long),
        ('status', ctypes.c_int),
        ('rest', ctypes.c_char * 256),
    )


def time_sync() -> tuple[bool | None, float | None]:
    """Whether the clock is kept by a time server, and its largest error in seconds; None: not
    known. Nothing is changed."""
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), 'adjtimex', None)
    told = _Timex()
    if adjtimex is None or adjtimex(ctypes.byref(told)) < 0:
        return None, None
    kept = not told.status & _STA_UNSYNC
    return kept, told.maxerror / _MICRO if kept else None
