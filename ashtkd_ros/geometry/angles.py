# SPDX-License-Identifier: Apache-2.0
"""Angles within one turn; each function takes a number or a numpy array of any shape."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

_Angle = TypeVar('_Angle', float, np.ndarray)


def wrap_radians(angle: _Angle) -> _Angle:
    """The same angle, from -pi up to, but not including, pi radians."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def wrap_degrees(angle: _Angle) -> _Angle:
    """The same angle, from -180 up to, but not including, 180 degrees."""
    return (angle + 180.0) % 360.0 - 180.0
