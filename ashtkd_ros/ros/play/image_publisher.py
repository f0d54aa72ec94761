# SPDX-License-Identifier: Apache-2.0
"""The camera that a node sees: images of a source as messages."""

from __future__ import annotations

import array
import time

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.errors import VprError
from ashtkd_ros.stamps import split_ns
from ashtkd_ros.traverses.frame import Frame


class ImagePublisher(Node):
    """Publishes images on `image`, each once, in the order given, with the image's own stamp."""

    def __init__(
        self,
        compressed: bool = False,
        frame_id: str = 'camera',
        topic: str = 'image',
        namespace: str = '',
    ):
        super().__init__('replay', namespace=namespace)
        self._compressed, self._frame_id = compressed, frame_id
        kind = CompressedImage if compressed else Image
        # Reliable: nothing of a recording may be lost; a best-effort subscriber hears it as well.
        self._publisher = self.create_publisher(kind, topic, QoSProfile(depth=5))

    @property
    def topic(self) -> str:
        """Full name of the topic with the images."""
        return self._publisher.topic_name

    def wait_for_subscriber(self, timeout_s: float) -> None:
        """Return when somebody listens; VprError after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self._publisher.get_subscription_count():
            if time.monotonic() > end:
                raise VprError(f'nobody subscribes to {self.topic}; is the node active?')
            time.sleep(0.02)

    def message(self, frame: Frame | bytes) -> Image | CompressedImage | bytes:
        """The frame as an Image (rgb8), or as the file's own bytes (JPEG or PNG).

        A serialized message stays as it is.
        """
        if isinstance(frame, bytes):
            return frame
        if self._compressed:
            data, kind = frame.image.encoded()
            message = CompressedImage(format=kind)
            message.data = array.array('B', data)
        else:
            pixels = frame.read()
            height, width = pixels.shape[:2]
            message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
            message.data = array.array('B', pixels.tobytes())
        message.header.frame_id = self._frame_id
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = split_ns(frame.header_ns)
        return message

    def publish(self, message: Image | CompressedImage | bytes) -> None:
        """Send one message."""
        self._publisher.publish(message)

    def wait_until_heard(self, timeout_s: float = 2.0) -> None:
        """Return when every reliable subscriber has what was sent, or after `timeout_s`."""
        if rclpy.ok():
            self._publisher.wait_for_all_acked(Duration(seconds=timeout_s))
