# SPDX-License-Identifier: Apache-2.0
"""rclpy from its start to its end, with errors in one line instead of tracebacks."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import rclpy
from rclpy.executors import ExternalShutdownException

from ashtkd_ros.errors import VprError, error_text
from ashtkd_ros.ros.environment import check_environment, expand_files
from ashtkd_ros.text import one_line

_PAUSE_S = 0.1


@contextlib.contextmanager
def ros_session(args: list[str] | None = None) -> Iterator[None]:
    """Initialise rclpy, run the body, shut rclpy down.

    KeyboardInterrupt where a signal has closed ROS amid the body; see also `end_on_signal`.
    `args`: the command line; None: that of this process. VprError if ROS refuses the arguments,
    for example because a parameters file does not exist, or cannot work in this environment.
    """
    given = sys.argv if args is None else args
    check_environment(given)
    _initialise(expand_files(given))
    try:
        yield
    except ExternalShutdownException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:  # RCLError: a signal closed the context during a call of rclpy
        if rclpy.ok():
            raise
        raise KeyboardInterrupt from error
    finally:
        rclpy.try_shutdown()


def end_on_signal() -> None:
    """KeyboardInterrupt where a signal has closed ROS, which tells of it in no other way."""
    if not rclpy.ok():
        raise KeyboardInterrupt


def _initialise(args: list[str]) -> None:
    try:
        rclpy.init(args=args)
    except Exception as error:  # RCLError, UnknownROSArgsError: they share no public base class
        reason = ' '.join(str(error).split()).split(', at /')[0].strip()
        refused = type(error).__name__ == 'UnknownROSArgsError' or 'parse' in reason
        what = 'ROS does not accept these arguments' if refused else 'ROS cannot be started'
        raise VprError(f'{what}: {one_line(reason)}') from error


def spin(executor, logger) -> None:
    """Run the callbacks until the context is shut down.

    An error in a callback is logged and ends only that call.
    """
    while executor.context.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:
            if not executor.context.ok():
                return
            logger.error(error_text(error), throttle_duration_sec=5.0)
            time.sleep(_PAUSE_S)  # the error may come again at once
