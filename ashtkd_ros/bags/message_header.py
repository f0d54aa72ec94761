# SPDX-License-Identifier: Apache-2.0
"""The stamp of a serialized message that begins with a std_msgs/Header, without parsing it."""

from __future__ import annotations

import struct

from ashtkd_ros.errors import VprError
from ashtkd_ros.stamps import join_ns


def stamp_ns_of(data: bytes) -> int:
    """Stamp in nanoseconds of a message in CDR; VprError if it is too short to have one."""
    if len(data) < 12:
        raise VprError(
            f'a message of {len(data)} bytes is too short to be an image; the bag is damaged'
        )
    sec, nanosec = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return join_ns(sec, nanosec)
