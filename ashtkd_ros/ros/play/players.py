# SPDX-License-Identifier: Apache-2.0
"""Playing a source: each image goes out when its time has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import rclpy

from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.traverses.frame import Frame


def play(
    camera: ImagePublisher,
    source: Iterable[tuple[float, Frame | bytes]],
    rate: float = 1.0,
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Publish every image of a source, `rate` times as fast as its times say; how many.

    The next image is read while the last one's time runs; one that is late delays those after it.
    `watch` is called now and then, and ends the playing by what it raises.
    """
    count, before = 0, 0.0
    due = published = time.monotonic()
    try:
        for seconds, image in source:
            message = camera.message(image)
            due, before = max(due + (seconds - before) / rate, published), seconds
            watch()
            while rclpy.ok() and (left := due - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
                watch()
            published = time.monotonic()
            camera.publish(message)
            count += 1
    finally:  # an image that cannot be read costs none of those before it
        camera.wait_until_heard()
    return count
