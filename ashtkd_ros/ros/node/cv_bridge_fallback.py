# SPDX-License-Identifier: Apache-2.0
"""Image messages of a live topic → arrays; cv_bridge is asked about encodings of its own."""

from __future__ import annotations

import numpy as np

from ashtkd_ros.images import message_decoding as image_msgs
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.message_decoding import ImageError


def image_to_array(msg, depth: BitDepth | None = None) -> tuple[np.ndarray, str]:
    """As `message_decoding.image_to_array`, with cv_bridge where that knows no encoding."""
    if msg.encoding in image_msgs.ENCODINGS:
        return image_msgs.image_to_array(msg, depth)
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except Exception as error:  # under NumPy 2 its import fails in several ways
        text = f'unknown encoding "{msg.encoding}", and cv_bridge cannot be imported'
        raise ImageError('unknown encoding', text) from error
    try:
        return CvBridge().imgmsg_to_cv2(msg, 'bgr8'), 'BGR'
    except (CvBridgeError, ValueError, TypeError, RuntimeError) as error:
        raise ImageError('unknown encoding', f'encoding "{msg.encoding}": {error}') from error
