# SPDX-License-Identifier: Apache-2.0
"""The camera that a node sees: images of a source as messages."""

from __future__ import annotations

import array
import time
from collections.abc import Callable

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.errors import VprError
from ashtkd_ros.stamps import split_ns
from ashtkd_ros.traverses.frame import Frame


class ImagePublisher(Node):
    """Publishes images on `topic`, each once, in the order given, with the image's own stamp.

    `compressed`: as CompressedImage, with the bytes of JPEG and PNG files, in place of Image.
    """

    def __init__(self, compressed: bool = False, topic: str = 'image', namespace: str = ''):
        super().__init__('replay', namespace=namespace)
        self._compressed = compressed
        kind = CompressedImage if compressed else Image
        self._type = f'sensor_msgs/msg/{kind.__name__}'
        # Reliable: nothing of a recording may be lost; a best-effort subscriber hears it as well.
        self._publisher = self.create_publisher(kind, topic, QoSProfile(depth=5))

    @property
    def topic(self) -> str:
        """Full name of the topic with the images."""
        return self._publisher.topic_name

    @property
    def has_subscriber(self) -> bool:
        """Whether anyone listens."""
        return self._publisher.get_subscription_count() > 0

    def wait_for_subscriber(
        self, timeout_s: float, check: Callable[[], None] = lambda: None
    ) -> None:
        """Return when anyone listens; VprError after `timeout_s`. `check`: called meanwhile."""
        end = time.monotonic() + timeout_s
        while not self.has_subscriber:
            check()
            if time.monotonic() > end:
                raise VprError(self._nobody())
            time.sleep(0.02)

    def _nobody(self) -> str:
        """That nobody listens, and who listens otherwise: for another type, or elsewhere."""
        text = f'nobody subscribes to {self.topic}'
        if others := self.get_subscriptions_info_by_topic(self.topic):
            transport = 'compressed' if self._compressed else 'raw'
            return (
                f'{text} as {self._type}, but as {others[0].topic_type}; set image_transport of '
                f'the node to {transport}'
            )
        heard = [
            name
            for name, types in self.get_topic_names_and_types()
            if self._type in types and self.count_subscribers(name)
        ]
        if heard:
            topics = ' and '.join(heard)
            return f'{text}, but to {topics}; name it with --ros-args -r image:={heard[0]}'
        return f'{text}; check that the node is active'

    def message(self, frame: Frame | bytes) -> Image | CompressedImage | bytes:
        """The message that a frame is sent as; one that is serialized already stays as it is.

        VprError where the image cannot be read, or is not stored as JPEG or PNG and should be.
        """
        if isinstance(frame, bytes):
            return frame
        if self._compressed:
            data, kind = frame.image.encoded()
            message = CompressedImage(format=kind, data=array.array('B', data))
        else:
            message = image_message(frame.read())
        message.header.frame_id = 'camera'
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


def image_message(pixels: np.ndarray, encoding: str = 'rgb8') -> Image:
    """Pixels (H, W) or (H, W, channels) as an Image without a header."""
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=pixels[0].nbytes)
    message.data = array.array('B', pixels.tobytes())
    return message
