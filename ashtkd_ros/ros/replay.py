# SPDX-License-Identifier: Apache-2.0
"""Play a folder of images as a camera.

example: ros2 run ashtkd_ros replay ~/walks/tuesday --hz 10 --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import argparse
import array
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.commands import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.guards import session
from ashtkd_ros.sources import Frame, read_source


class Camera(Node):
    """Publishes frames on `image`, each once, in the order given, with the frame's own stamp."""

    def __init__(self, compressed: bool = False, frame_id: str = 'camera'):
        super().__init__('replay')
        self._compressed, self._frame_id = compressed, frame_id
        kind = CompressedImage if compressed else Image
        # Reliable: nothing of a recording may be lost; a best-effort subscriber hears it as well.
        self._publisher = self.create_publisher(kind, 'image', QoSProfile(depth=5))

    def wait_for_subscriber(self, timeout_s: float) -> None:
        """Return when somebody listens; VprError after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self._publisher.get_subscription_count():
            if time.monotonic() > end:
                topic = self._publisher.topic_name
                raise VprError(f'nobody subscribes to {topic}; is the node active?')
            time.sleep(0.02)

    def message(self, frame: Frame) -> Image | CompressedImage:
        """The frame as an Image (rgb8), or as the file's own bytes (JPEG or PNG)."""
        if self._compressed:
            if frame.path.suffix.lower() not in ('.jpg', '.jpeg', '.png'):
                raise VprError(f'{frame.path}: only JPEG and PNG files can be sent compressed')
            message = CompressedImage(format=frame.path.suffix.lower().lstrip('.'))
            message.data = array.array('B', frame.path.read_bytes())
        else:
            pixels = frame.read()
            height, width = pixels.shape[:2]
            message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
            message.data = array.array('B', pixels.tobytes())
        message.header.frame_id = self._frame_id
        seconds = math.floor(frame.stamp)
        nanoseconds = min(999_999_999, round((frame.stamp - seconds) * 1e9))
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
        return message

    def publish(self, message: Image | CompressedImage) -> None:
        """Send one message."""
        self._publisher.publish(message)

    def wait_until_heard(self, timeout_s: float = 2.0) -> None:
        """Return when every reliable subscriber has what was sent, or after `timeout_s`."""
        if rclpy.ok():
            self._publisher.wait_for_all_acked(Duration(seconds=timeout_s))


def play(camera: Camera, frames: Sequence[Frame], hz: float) -> None:
    """Publish every frame at `hz`; the next is read while the last one's time runs."""
    due = time.monotonic()
    for frame in frames:
        message = camera.message(frame)
        while rclpy.ok() and (left := due - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        due = max(due + 1.0 / hz, time.monotonic())
        camera.publish(message)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv if argv is None else ['replay', *argv]
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='folder with poses.csv or index.csv')
    parser.add_argument('--role', default='', help='rows of index.csv to take, e.g. query')
    parser.add_argument('--hz', type=_positive, default=10.0, help='images a second (10)')
    parser.add_argument('--compressed', action='store_true', help='send the JPEG or PNG bytes')
    parser.add_argument('--wait', type=_positive, default=30.0, help='seconds for a subscriber')
    args = parser.parse_args(remove_ros_args(argv)[1:])

    def command() -> int:
        frames = read_source(args.source, args.role)
        with session(argv):
            camera = Camera(args.compressed)
            camera.wait_for_subscriber(args.wait)
            try:
                play(camera, frames, args.hz)
            finally:  # a file that cannot be read costs none of those before it
                camera.wait_until_heard()
            print(f'{len(frames)} images played')
        return 0

    run_command(command)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


if __name__ == '__main__':
    main()
