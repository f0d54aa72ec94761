# SPDX-License-Identifier: Apache-2.0
"""Services of the node: enable, reload_map, relocalize."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TypeVar

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ashtkd_ros.errors import VprError, error_text
from ashtkd_ros.ros.eventless_publisher import create_eventless_publisher
from ashtkd_ros.ros.node.callback_errors import answer_with_errors
from ashtkd_ros.ros.node.messages import check_messages
from ashtkd_ros.ros.node.node_state import NodeState
from ashtkd_ros.ros.node.parameter_values import path_of
from ashtkd_ros.ros.status_texts import DISABLED
from ashtkd_ros.ros.threads import start_thread

_Response = TypeVar('_Response', SetBool.Response, Trigger.Response)


class Services:
    """Offered as long as the node lives; a refusal says why the state does not allow the call."""

    def __init__(self, node: NodeState):
        self._node = node
        self._initial_pose = create_eventless_publisher(
            node, PoseWithCovarianceStamped, 'initialpose', 1
        )
        node.create_service(SetBool, '~/enable', self._enable)
        # A callback group of its own: the other services are answered while a map is loaded.
        alone = MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, '~/reload_map', self._reload_map, callback_group=alone)
        node.create_service(Trigger, '~/relocalize', self._relocalize)

    @answer_with_errors
    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Use the images or ignore them; the life-cycle state stays as it is."""
        if self._node.state != 'active':
            return _answer(response, False, _state_advice(self._node, 'activate'))
        self._node.enable(request.data)
        what = 'enabled' if request.data else 'disabled: images are ignored'
        return _answer(response, True, what)

    async def _reload_map(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Load the map again in another thread; the old map stays in use if that fails."""
        node = self._node
        if node.loaded_map is None:
            return self._start(response)
        embedder = node.embedder
        try:
            loaded = await self._load_map()
            if node.embedder is not embedder:
                text = 'the node was cleaned up or configured again meanwhile'
                return _answer(response, False, text)
            node.use_map(loaded)
        except Exception as error:  # an error that leaves this function would end the node
            text = error_text(error)
            node.get_logger().error(f'the map was not reloaded: {text}')
            with contextlib.suppress(VprError):  # a path that is none
                if node.loaded_map is not None:
                    node.loaded_map.watch.refuse(Path(path_of(node, 'map_path')), text)
            return _answer(response, False, f'{text}; the old map stays in use')
        again = '; the node is active again' if node.recovery.reactivate() else ''
        return _answer(response, True, f'map loaded: {len(loaded.places)} places{again}')

    def _start(self, response: Trigger.Response) -> Trigger.Response:
        """Start a node again that could not start by itself."""
        node = self._node
        may_start = node.state == 'unconfigured' and node.get_parameter('autostart').value
        if not may_start:
            return _answer(response, False, _state_advice(node, 'configure'))
        if not node.autostart.start():
            return _answer(response, False, f'the node is {node.state}: {node.health.last_error}')
        return _answer(response, True, f'map loaded: {len(node.loaded_map.places)} places')

    def _load_map(self) -> Future:
        """The map on disk, or the error that loading it raised."""
        node, embedder, configured = self._node, self._node.embedder, self._node.parameters
        result = Future(executor=node.executor)
        result.add_done_callback(lambda _: node.executor.wake())

        def load() -> None:
            try:
                loaded = node.load_map(embedder, configured)
                check_messages(loaded)
                result.set_result(loaded)
            except Exception as error:  # a future that is never done would block the service
                result.set_exception(error)

        start_thread('map loader', load)
        return result

    @answer_with_errors
    def _relocalize(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Publish the pose of the last match on `initialpose`, once."""
        node = self._node
        if refusal := self._why_no_pose():
            return _answer(response, False, refusal)
        pose = node.last_match.pose()
        self._initial_pose.publish(pose)
        position, frame = pose.pose.pose.position, pose.header.frame_id
        text = f'{position.x:.2f}, {position.y:.2f} in {frame}'
        if warning := _warn_of_frame(frame, node.get_parameter('initialpose_frame').value):
            node.get_logger().warning(f'relocalize: {warning}')
            text = f'{warning}; published: {text}'
        return _answer(response, True, text)

    def _why_no_pose(self) -> str:
        """Why the last match gives no pose for `initialpose` now; empty if it does."""
        node, last = self._node, self._node.last_match
        age = time.monotonic() - last.at
        if node.state != 'active':
            return _state_advice(node, 'activate')
        if not node.enabled:
            return f'the node is {DISABLED}'
        if last.pose is None:
            return last.refusal
        if last.loaded_map is not node.loaded_map:
            return 'no image has been recognised in this map yet'
        if age > node.get_parameter('image_timeout_s').value:
            return f'the last match is {age:.1f} s old; check the camera, or raise image_timeout_s'
        if not self._initial_pose.get_subscription_count():
            topic = self._initial_pose.topic_name
            return f'nobody subscribes to {topic}; start AMCL, or remap initialpose'
        return ''


def _warn_of_frame(frame: str, expected: str) -> str:
    """The warning if the subscriber expects another frame than the pose's; empty if not."""
    frame, expected = frame.lstrip('/'), expected.lstrip('/')
    if not expected or frame == expected:
        return ''
    return (
        f'the pose is in "{frame}", but AMCL ignores poses outside of "{expected}": build the map '
        f'with poses in {expected}, or set initialpose_frame if {frame} is right'
    )


def _state_advice(node, transition: str) -> str:
    """What is wrong with the node's state, and the command that mends it."""
    if node.state == 'finalized':
        return 'the node is finalized; start it again'
    transition = 'configure' if node.state == 'unconfigured' else transition
    command = f'ros2 lifecycle set {node.get_fully_qualified_name()} {transition}'
    return f'the node is {node.state}; {transition} it: {command}'


def _answer(response: _Response, success: bool, message: str) -> _Response:
    response.success, response.message = success, message
    return response
