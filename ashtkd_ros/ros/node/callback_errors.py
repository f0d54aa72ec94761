# SPDX-License-Identifier: Apache-2.0
"""Decorators for the node's callbacks: rclpy would swallow their errors, or end the node."""

from __future__ import annotations

import functools

import rclpy
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from ashtkd_ros.errors import VprError, error_text
from ashtkd_ros.ros.node.node_state import NodeState


def log_transition_errors(callback):
    """Log the error of a life-cycle callback and let the transition fail.

    rclpy itself would swallow it. A VprError is a failure: the state stays as it was. Any other
    error leads to `on_error`.
    """

    @functools.wraps(callback)
    def guarded(self: NodeState, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            callback(self, state)
        except Exception as error:
            if not self.context.ok():  # the node was told to end meanwhile
                return TransitionCallbackReturn.FAILURE
            # Two calls of the logger: rclpy allows only one severity for each line of code.
            if isinstance(error, VprError):
                text = error_text(error)
                if not _is_repeated(self, text):
                    self.get_logger().error(text)
                return TransitionCallbackReturn.FAILURE
            text = f'{error_text(error)} (in {callback.__name__})'
            if not _is_repeated(self, text):
                self.get_logger().fatal(text)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return guarded


def _is_repeated(node: NodeState, text: str) -> bool:
    """Keep the text for the diagnostics; whether it was logged when the start was tried before."""
    repeated = node.autostart.retrying and text == node.autostart.last_error
    node.autostart.last_error = node.health.last_error = text
    return repeated


def answer_with_errors(callback):
    """Answer a service call with the text of the error; rclpy itself would end the node."""

    @functools.wraps(callback)
    def guarded(self, request, response):
        try:
            return callback(self, request, response)
        except Exception as error:
            if not rclpy.ok():
                raise
            response.success, response.message = False, error_text(error)
            return response

    return guarded


def refuse_invalid_transitions(change_state):
    """Answer "no" to a transition that the state does not allow; rclpy would end the node."""

    def guarded(request, response):
        try:
            return change_state(request, response)
        except RuntimeError:  # RCLError; rcl has logged the transition and the state
            response.success = False
            return response

    return guarded
