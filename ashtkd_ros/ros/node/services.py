# SPDX-License-Identifier: Apache-2.0
"""Services of the node: enable, reload_map, relocalize."""

from __future__ import annotations

import time

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ashtkd_ros.ros.node.messages import rehearse
from ashtkd_ros.ros.quiet_publisher import quiet_publisher
from ashtkd_ros.ros.session import answering, told
from ashtkd_ros.ros.threads import start_thread


class Services:
    """Offered as long as the node lives; what its state does not allow is refused in words."""

    def __init__(self, node):
        self._node = node
        self._initial_pose = quiet_publisher(node, PoseWithCovarianceStamped, 'initialpose', 1)
        node.create_service(SetBool, '~/enable', self._enable)
        # A group of its own: others are served while it waits.
        alone = MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, '~/reload_map', self._reload_map, callback_group=alone)
        node.create_service(Trigger, '~/relocalize', self._relocalize)

    @answering
    def _enable(self, request, response):
        """Look at images or not, without a change of the lifecycle's state."""
        if self._node.state != 'active':
            return _said(response, False, _not_active(self._node.state))
        self._node.enable(request.data)
        what = 'enabled' if request.data else 'disabled: images are not looked at'
        return _said(response, True, what)

    async def _reload_map(self, request, response):
        """Load the map anew, off this thread; the old one stays in use if that fails."""
        node = self._node
        if node.served is None:
            return self._start(response)
        embedder = node.embedder
        try:
            result = await self._loaded()
            if node.embedder is not embedder:
                text = 'the node was cleaned up or configured anew meanwhile'
                return _said(response, False, text)
            node.serve(result)
        except Exception as error:  # what is raised here would end the node
            node.get_logger().error(f'the map was not reloaded: {told(error)}')
            return _said(response, False, f'{told(error)}; the old map stays in use')
        revived = ', active again' if node.revive() else ''
        return _said(response, True, f'{len(result.places)} places{revived}')

    def _start(self, response):
        """A node that came to nothing when it started by itself is started again."""
        node = self._node
        if node.state == 'finalized':
            return _said(response, False, 'the node is finalized: start it anew')
        if node.state != 'unconfigured' or not node.get_parameter('autostart').value:
            return _said(response, False, f'the node is {node.state}: configure it')
        if not node.start():
            return _said(response, False, f'the node is {node.state}: {node.health.last_error}')
        return _said(response, True, f'{len(node.served.places)} places, active')

    def _loaded(self) -> Future:
        """The map on the disk, or what is wrong with it, when it has been tried."""
        node, embedder, configured = self._node, self._node.embedder, self._node.parameters
        loaded = Future(executor=node.executor)
        loaded.add_done_callback(lambda _: node.executor.wake())

        def load() -> None:
            try:
                served = node.load_map(embedder, configured)
                rehearse(served)
                loaded.set_result(served)
            except Exception as error:  # a future that is never done would block the service
                loaded.set_exception(error)

        start_thread('map loader', load)
        return loaded

    @answering
    def _relocalize(self, request, response):
        """Publish the pose of the current match on `initialpose`, once."""
        node = self._node
        if node.state != 'active':
            return _said(response, False, _not_active(node.state))
        if not node.enabled:
            return _said(response, False, 'the node is disabled; call ~/enable')
        now = node.current
        age = time.monotonic() - now.at
        if now.pose is None:
            return _said(response, False, now.why)
        if now.served is not node.served:
            return _said(response, False, 'no image has been recognised in this map yet')
        if age > node.get_parameter('image_timeout_s').value:
            return _said(response, False, f'the last match is {age:.1f} s old')
        if not self._initial_pose.get_subscription_count():
            return _said(response, False, f'nobody listens to {self._initial_pose.topic_name}')
        pose = now.pose()
        self._initial_pose.publish(pose)
        place = f'{pose.pose.pose.position.x:.2f}, {pose.pose.pose.position.y:.2f}'
        said = f'{place} in {pose.header.frame_id}'
        caution = _of_another_frame(
            pose.header.frame_id, node.get_parameter('initialpose_frame').value
        )
        if caution:
            node.get_logger().warning(f'relocalize: {caution}')
            said = f'{caution}; published: {said}'
        return _said(response, True, said)


def _of_another_frame(frame: str, wanted: str) -> str:
    """Why a pose in `frame` may be passed over by who listens for `wanted`; else ''."""
    frame, wanted = frame.lstrip('/'), wanted.lstrip('/')
    if not wanted or frame == wanted:
        return ''
    return (
        f'the pose is in "{frame}", AMCL takes those in "{wanted}" only and passes over others: '
        f'build the map with poses in {wanted}, or set initialpose_frame if {frame} is right'
    )


def _not_active(state: str) -> str:
    return f'the node is {state}: {"start it anew" if state == "finalized" else "activate it"}'


def _said(response, success: bool, message: str):
    response.success, response.message = success, message
    return response
