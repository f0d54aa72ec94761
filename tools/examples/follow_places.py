#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the place of each image: python3 follow_places.py [--ros-args -r __ns:=/front]."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.utilities import remove_ros_args
from vision_msgs.msg import Classification


def show(message: Classification) -> None:
    """Best place and its confidence; a message without results says that the place is unknown."""
    if message.results:
        best = message.results[0]
        print(f'place {best.class_id}, confidence {best.score:.2f}', flush=True)
    else:
        print('unknown', flush=True)


def main() -> None:
    """Until Ctrl-C."""
    whole = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=whole)
    parser.parse_args(remove_ros_args(sys.argv)[1:])
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        # rclpy ends on Ctrl-C; what Python would raise amid a call of it may become another error
        signal.signal(signal.SIGINT, lambda *_: None)
        rclpy.init()
        node = rclpy.create_node('follow_places')
        node.create_subscription(Classification, 'vpr_node/place', show, 10)
        try:
            rclpy.spin(node)
        except RuntimeError:  # RCLError: Ctrl-C closed the context amid a call of rclpy
            if rclpy.ok():
                raise


if __name__ == '__main__':
    main()
