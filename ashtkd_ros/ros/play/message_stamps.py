# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages, serialized or not."""

from __future__ import annotations

import struct

from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.errors import VprError

Stamp = tuple[int, int]


def stamp_of(message: Image | CompressedImage | Classification | bytes) -> Stamp:
    """Seconds and nanoseconds of a message's header, serialized (CDR) or not."""
    if not isinstance(message, bytes):
        return message.header.stamp.sec, message.header.stamp.nanosec
    if len(message) < 12:
        raise VprError(f'a message of {len(message)} bytes is no image; the bag is damaged')
    return struct.unpack_from('<iI' if message[1] & 1 else '>iI', message, 4)
