# SPDX-License-Identifier: Apache-2.0
"""rclpy from its start to its end, with errors in one line instead of tracebacks."""

from __future__ import annotations

import ast
import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node

from ashtkd_ros.errors import ArgumentError, VprError, error_text
from ashtkd_ros.ros.environment import check_environment, expand_files
from ashtkd_ros.ros.signals import ignore_signals
from ashtkd_ros.text import one_line

_PAUSE_S = 0.1
_CLOSING_S = 3.0
_LEVELS = 'DEBUG, INFO, WARN, ERROR or FATAL'
_FORMS = {  # of the arguments that rcl parses
    **dict.fromkeys(('-p', '--param'), '-p NAME:=VALUE'),
    **dict.fromkeys(('-r', '--remap'), '-r FROM:=TO'),
    **dict.fromkeys(('-e', '--enclave'), '-e /PATH'),
    '--log-level': f'--log-level LEVEL, which is {_LEVELS}',
    '--params-file': '--params-file FILE',
    '--log-config-file': '--log-config-file FILE',
}
_SAYS_NOTHING = re.compile(r'^\.|error not set|lexeme|token')  # to a user


class QuietExecutor(SingleThreadedExecutor):
    """An executor that a signal may end while it is made: rclpy's own prints a traceback then."""

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # what was not made yet
            super().__del__()


@contextlib.contextmanager
def ros_session(args: list[str] | None = None) -> Iterator[None]:
    """Initialise rclpy, run the body, shut rclpy down.

    KeyboardInterrupt where a signal has closed ROS amid the body; see also `end_on_signal`.
    `args`: the command line; None: that of this process. ArgumentError if ROS does not take the
    arguments; VprError if a file that they name does not exist, or ROS cannot work in this
    environment.
    """
    given = sys.argv if args is None else args
    check_environment(given)
    _initialise(expand_files(given))
    try:
        yield
    except ExternalShutdownException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:  # RCLError and others, of a signal during a call of rclpy
        if not _is_closing():
            raise
        raise KeyboardInterrupt from error
    finally:
        rclpy.try_shutdown()


def _is_closing() -> bool:
    """Whether a signal has closed ROS; a thread of rclpy does that, a moment later."""
    end = time.monotonic() + _CLOSING_S
    while rclpy.ok() and time.monotonic() < end:
        time.sleep(0.01)
    return not rclpy.ok()


def end_on_signal() -> None:
    """KeyboardInterrupt where a signal has closed ROS, which tells of it in no other way."""
    if not rclpy.ok():
        raise KeyboardInterrupt


def _initialise(args: list[str]) -> None:
    try:
        rclpy.init(args=args)
    except Exception as error:  # RCLError, UnknownROSArgsError: they share no public base class
        if refused := argument_error(error):
            raise refused from error
        reason = ' '.join(str(error).split()).split(', at /')[0].strip()
        raise VprError(f'ROS cannot be started: {one_line(reason)}') from error


def argument_error(error: Exception) -> ArgumentError | None:
    """What rclpy's error says of an argument, and what to write; None for another error."""
    text = ' '.join(str(error).split()).split(', at /')[0].strip()
    if type(error).__name__ == 'UnknownROSArgsError':
        words = ', '.join(ast.literal_eval(text))
        return ArgumentError(f'ROS does not take {words}; remove it, or move it before --ros-args')
    if trailing := re.search(r"Couldn't parse trailing (\S+) flag", text):
        return ArgumentError(f'nothing follows {trailing[1]}; write {_form_of(trailing[1])}')
    if wrong := re.search(r"Couldn't parse [^:]*: '((-\S+) .*?)'(\. Error: |$)(.*)", text):
        given, flag, reason = wrong[1], wrong[2], wrong[4].removesuffix('.')
        why = '' if _SAYS_NOTHING.search(f'{reason}.') else f' ({reason})'
        return ArgumentError(f'ROS does not take {given}{why}; write {_form_of(flag)}')
    return None


def _form_of(flag: str) -> str:
    return _FORMS.get(flag, f'{flag} VALUE')


def spin(executor: Executor, logger: RcutilsLogger) -> None:
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


def spin_node(node: Node, close: Callable[[], None]) -> None:
    """Run a node's callbacks until a signal, then `close`, which no further signal interrupts."""
    executor = QuietExecutor()
    executor.add_node(node)
    try:
        spin(executor, node.get_logger())
    finally:
        ignore_signals()
        executor.shutdown()
        close()
