# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM: how a process of rclpy ends without a traceback."""

from __future__ import annotations

import signal

from rclpy.signals import uninstall_signal_handlers

_ENDING = (signal.SIGINT, signal.SIGTERM)


def record_interrupts() -> list[int]:
    """The list of all SIGINTs and SIGTERMs that arrive from now on; call it before `ros_session`.

    `ros_session` then ends when the signal closes ROS. Python's own handler would raise
    KeyboardInterrupt wherever the program is, also in destructors, where it would be lost.
    """
    received: list[int] = []
    for number in _ENDING:
        signal.signal(number, lambda number, _: received.append(number))
    return received


def interrupt_once() -> None:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt; a second one ends the process at once.

    So the first can be cleaned up after, and nothing that never returns keeps the process alive.
    """

    def interrupt(*_: object) -> None:
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    for number in _ENDING:
        signal.signal(number, interrupt)


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM: the process is ending, and a second signal must not kill it.

    Ctrl-C under a launch sends two. rclpy's signal thread is stopped too, since it would touch
    what is destroyed next.
    """
    for step in (_ignore, uninstall_signal_handlers, _ignore):
        step()


def _ignore() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
