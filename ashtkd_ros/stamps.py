# SPDX-License-Identifier: Apache-2.0
"""The one place where seconds, nanoseconds and the stamps of ROS messages become each other."""

from __future__ import annotations

import math
from typing import Any

NS_PER_S = 10**9


def stamp_to_s(stamp: Any) -> float:
    """The time of a message, with fields `sec` and `nanosec`, in seconds; see `ns_to_s`."""
    return ns_to_s(stamp_to_ns(stamp))


def stamp_to_ns(stamp: Any) -> int:
    """The time of a message, with fields `sec` and `nanosec`, in nanoseconds, exactly."""
    return join_ns(stamp.sec, stamp.nanosec)


def ns_to_s(nanoseconds: int) -> float:
    """Nanoseconds in seconds, rounded once; for today's dates float64 has steps of 0.2 us."""
    return nanoseconds / NS_PER_S


def s_to_ns(seconds: float) -> int:
    """Seconds as the nearest number of nanoseconds; whole seconds stay as they are."""
    whole = math.floor(seconds)
    return join_ns(whole, round((seconds - whole) * NS_PER_S))


def join_ns(seconds: int, nanoseconds: int) -> int:
    """Whole seconds and the nanoseconds that remain, as nanoseconds, exactly."""
    return seconds * NS_PER_S + nanoseconds


def split_ns(nanoseconds: int) -> tuple[int, int]:
    """Nanoseconds as the fields of a message: whole seconds, and the nanoseconds that remain."""
    return divmod(nanoseconds, NS_PER_S)
