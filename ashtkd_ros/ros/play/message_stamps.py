# SPDX-License-Identifier: Apache-2.0
"""The stamp of a message, serialized or not."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.bags import message_header
from ashtkd_ros.stamps import stamp_to_ns


def stamp_ns_of(message: Image | CompressedImage | Classification | bytes) -> int:
    """Stamp of a message's header in ns; VprError where serialized bytes are too few for one."""
    if isinstance(message, bytes):
        return message_header.stamp_ns_of(message)
    return stamp_to_ns(message.header.stamp)
