# SPDX-License-Identifier: Apache-2.0
"""Where rclpy would swallow an error, die of one, or show a traceback: what happens instead."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import time
from collections.abc import Iterator

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.signals import uninstall_signal_handlers

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.environment import check_environment, expand_files
from ashtkd_ros.text import one_line, reason_of

_PAUSE_S = 0.1


@contextlib.contextmanager
def session(args: list[str] | None = None) -> Iterator[None]:
    """rclpy from init to shutdown; a signal ends the body without noise.

    VprError where ROS refuses its arguments, a parameters file that is not there, say, or where
    it cannot work in this environment.
    """
    given = sys.argv if args is None else args
    check_environment(given)
    try:
        rclpy.init(args=expand_files(given))
    except VprError:
        raise
    except Exception as error:  # RCLError, UnknownROSArgsError: no public base in common
        reason = ' '.join(str(error).split()).split(', at /')[0].strip()
        refused = type(error).__name__ == 'UnknownROSArgsError' or 'parse' in reason
        what = 'ROS does not take these arguments' if refused else 'ROS cannot be started'
        raise VprError(f'{what}: {one_line(reason)}') from error
    try:
        yield
    except ExternalShutdownException:
        pass
    except RuntimeError:  # RCLError where the signal closed the context amid a call of rclpy
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()


def noted_interrupts() -> list[int]:
    """SIGINTs from now on, to be called before `session`, which ends by them as by SIGTERM.

    Python would raise KeyboardInterrupt wherever it is, in destructors too, where it is lost.
    """
    noted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    return noted


def end_of_signals() -> None:
    """The process ends anyway: another SIGINT, of a launch and of Ctrl-C, must not kill it amid.

    And rclpy's signal thread, still at work, would touch what is destroyed next.
    """
    for ignore in (_ignore, uninstall_signal_handlers, _ignore):
        ignore()


def _ignore() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def transition(callback):
    """rclpy swallows what a transition raises: log it, and let the transition fail instead."""

    @functools.wraps(callback)
    def guarded(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            callback(self, state)
        except VprError as error:
            if not self.context.ok():  # the node was told to end meanwhile
                return TransitionCallbackReturn.FAILURE
            text = told(error)
            if not _said_before(self, text):
                self.get_logger().error(text)
            self.health.last_error = text
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            if not self.context.ok():  # the node was told to end meanwhile
                return TransitionCallbackReturn.FAILURE
            text = f'{told(error)} (in {callback.__name__})'
            if not _said_before(self, text):
                self.get_logger().fatal(text)
            self.health.last_error = text
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return guarded


def _said_before(node, text: str) -> bool:
    """What is tried again and again by itself is said once."""
    before, node.last_said = node.last_said, text
    return node.retrying and text == before


def told(error: BaseException) -> str:
    """What went wrong, in one line; of what was not foreseen, its type as well."""
    if isinstance(error, VprError):
        return one_line(str(error))
    return f'{type(error).__name__}: {reason_of(error)}'


def answering(callback):
    """rclpy lets what a service's callback raises end the node: say it to the caller instead."""

    @functools.wraps(callback)
    def guarded(self, request, response):
        try:
            return callback(self, request, response)
        except Exception as error:
            if not rclpy.ok():
                raise
            response.success, response.message = False, told(error)
            return response

    return guarded


def spin(executor, logger) -> None:
    """Until the context ends; what a callback raises is logged, and costs that call alone."""
    while executor.context.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:
            if not executor.context.ok():
                return
            logger.error(told(error), throttle_duration_sec=5.0)
            time.sleep(_PAUSE_S)  # it may come again at once


def refusing(change_state):
    """rclpy lets a transition that the state does not allow end the node: answer no instead."""

    def guarded(request, response):
        try:
            return change_state(request, response)
        except RuntimeError:  # RCLError; rcl has logged which transition and state
            response.success = False
            return response

    return guarded
