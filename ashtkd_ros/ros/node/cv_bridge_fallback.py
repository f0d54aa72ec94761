# SPDX-License-Identifier: Apache-2.0
"""Image messages of a live topic → arrays; cv_bridge decodes encodings that we do not know."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image

from ashtkd_ros.images import message_decoding
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.text import name_of


def image_to_array(msg: Image, depth: BitDepth | None = None) -> tuple[np.ndarray, str]:
    """Like `message_decoding.image_to_array`, but cv_bridge decodes encodings unknown there."""
    if msg.encoding in message_decoding.ENCODINGS:
        return message_decoding.image_to_array(msg, depth)
    name = name_of(msg.encoding)
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except Exception as error:  # under NumPy 2 its import fails in several ways
        text = f'unknown encoding "{name}", and cv_bridge cannot be imported to decode it'
        raise ImageError('unknown encoding', text) from error
    try:
        return CvBridge().imgmsg_to_cv2(msg, 'bgr8'), 'BGR'
    except (CvBridgeError, ValueError, TypeError, RuntimeError) as error:
        text = f'encoding "{name}": {name_of(str(error))}'
        raise ImageError('unknown encoding', text) from error
