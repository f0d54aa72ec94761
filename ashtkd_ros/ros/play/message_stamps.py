# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages, serialized or not."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.bags.message_header import stamp_ns_of
from ashtkd_ros.stamps import split_ns

Stamp = tuple[int, int]


def stamp_of(message: Image | CompressedImage | Classification | bytes) -> Stamp:
    """Seconds and nanoseconds of a message's header, serialized (CDR) or not."""
    if not isinstance(message, bytes):
        return message.header.stamp.sec, message.header.stamp.nanosec
    return split_ns(stamp_ns_of(message))
