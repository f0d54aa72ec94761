# SPDX-License-Identifier: Apache-2.0
"""Who plays a source to a node: this process, or `ros2 bag play`."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable

import rclpy

from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.traverse import Playback


def play(
    publisher: ImagePublisher,
    source: Iterable[tuple[float, Frame | bytes]],
    rate: float = 1.0,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Publish every image of a source, `rate` times as fast as its times say; their number.

    The next image is read while the last one's time runs; one that is late delays those after it.
    `check` is called now and then, and ends the playing by what it raises.
    """
    count, before = 0, 0.0
    due = published = time.monotonic()
    try:
        for seconds, image in source:
            message = publisher.message(image)
            due, before = max(due + (seconds - before) / rate, published), seconds
            check()
            while rclpy.ok() and (left := due - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
                check()
            published = time.monotonic()
            publisher.publish(message)
            count += 1
    finally:  # an image that cannot be read costs none of those before it
        publisher.wait_until_heard()
    return count


def choose_player(wanted: str, source: Playback) -> str:
    """Who plays a source, own or ros2; "auto" is ros2 where that can play it, else own.

    VprError where ros2 is wanted and cannot play it.
    """
    reason = ''
    if not source.ros2_topic:
        reason = f'{source.path}: ros2 can play nothing but the folder of a ROS 2 bag'
    elif source.hz:
        reason = f'{source.path}: "ros2 bag play" has no option --hz; use --rate'
    elif wanted == 'auto' and source.traverse.notes:  # it may read less of it, or nothing
        reason = f'{source.path}: {source.traverse.notes[0]}'
    elif wanted != 'own' and not _has_ros2_bag():
        reason = '"ros2 bag play" does not work here; use --player own'
    if wanted == 'ros2' and reason:
        raise VprError(reason)
    return 'own' if reason or wanted == 'own' else 'ros2'


def _has_ros2_bag() -> bool:
    if not shutil.which('ros2'):
        return False
    return not subprocess.run(['ros2', 'bag', 'play', '--help'], capture_output=True).returncode


def play_with_ros2(
    source: Playback, image_topic: str, rate: float, check: Callable[[], None]
) -> int:
    """As `play`, by `ros2 bag play`, with options that Humble, Jazzy and Kilted all have."""
    topic = source.ros2_topic
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as qos:
        # As recorded it would be best effort for most cameras, which loses large images.
        json.dump({topic: {'reliability': 'reliable', 'depth': 5}}, qos)
        qos.flush()
        command = ['ros2', 'bag', 'play', str(source.path), '--rate', str(rate)]
        command += ['--topics', topic, '--remap', f'{topic}:={image_topic}']
        command += ['--qos-profile-overrides-path', qos.name, '--disable-keyboard-controls']
        # By itself it waits for no subscriber, ends before all is heard, and reads a thousand
        # images ahead.
        command += ['--delay', '2', '--wait-for-all-acked', '2000']
        command += ['--read-ahead-queue-size', '20']
        with child_process('ros2 bag play', command) as player:
            while not player.has_ended:
                check()
                time.sleep(0.02)
            if player.process.returncode:
                raise player.failure()
    return source.traverse.count
