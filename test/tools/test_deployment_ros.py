# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy, the displays and the examples, against a running vpr_node and peers of it."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import NodeNameNonExistentError
from ros_helpers import Peer, Process, until
from std_srvs.srv import Trigger
from test_deployment import foxglove, granted, rviz_topics
from vision_msgs.msg import Classification, ObjectHypothesis

from tools.examples import follow_places, go_to_place, relocalise_amcl, slow_when_lost
from tools.examples.relocalise_amcl import RelocaliseAmcl
from tools.examples.slow_when_lost import NO_LIMIT, Caution

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
NAMESPACE = '/deployed'
SHOWS = {
    'MarkerArray': 'visualization_msgs/msg/MarkerArray',
    'PoseWithCovariance': 'geometry_msgs/msg/PoseWithCovarianceStamped',
    'Image': 'sensor_msgs/msg/Image',
}


@pytest.fixture
def deployed(peer: Peer, start_node, town_map: Path) -> Peer:
    """A peer beside a node that runs, on simulated time so that it takes all it may."""
    start_node('-r', f'__ns:={NAMESPACE}', map_path=town_map, num_threads=1, use_sim_time='true')
    return peer


def test_the_policy_is_what_the_node_does(deployed: Peer) -> None:
    """Both ways; names may come one after the other, so it is asked until they are all there."""
    allowed, seen = granted(NAMESPACE), {}
    if not find_spec('rclpy.type_description_service'):  # Humble
        allowed['reply'].discard(f'{NAMESPACE}/vpr_node/get_type_description')
    node = deployed.node

    def agreed() -> bool:
        try:
            for qualifier, ask in (
                ('publish', node.get_publisher_names_and_types_by_node),
                ('subscribe', node.get_subscriber_names_and_types_by_node),
                ('reply', node.get_service_names_and_types_by_node),
            ):
                seen[qualifier] = dict(ask('vpr_node', NAMESPACE))
        except NodeNameNonExistentError:
            return False
        return {q: set(names) for q, names in seen.items()} == allowed

    try:
        until(agreed, 'the graph to be as the policy says', deployed.spin)
    finally:
        for qualifier, names in seen.items():
            print(qualifier, 'missing in the policy:', sorted(set(names) - allowed[qualifier]))
            print(qualifier, 'not done by the node:', sorted(allowed[qualifier] - set(names)))
    for display, topic in rviz_topics().items():
        assert seen['publish'][NAMESPACE + topic] == [SHOWS[display]]


def test_the_indicator_reads_a_value_that_is_there(ros, start_node, town_map: Path) -> None:
    start_node('-r', f'__ns:={NAMESPACE}', map_path=town_map, num_threads=1)
    peer = Peer(NAMESPACE)
    status, values = peer.status(state='active')
    peer.close()
    path = foxglove()['configById']['Indicator!known']['path']
    name = status.name.removeprefix(NAMESPACE)
    assert path == f'/diagnostics.status[:]{{name=="{name}"}}.values[:]{{key=="place"}}.value'
    assert values['place'] == 'none'


EXAMPLES = [follow_places, go_to_place, relocalise_amcl, slow_when_lost]


@pytest.mark.parametrize('module', EXAMPLES)
def test_an_example_says_what_it_does_to_help(module, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['example', '--help', '--ros-args', '-r', '__ns:=/front'])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert not end.value.code and module.__doc__.strip() in capsys.readouterr().out


def test_follow_places_prints_place_or_unknown(peer: Peer, tmp_path: Path) -> None:
    known = Classification(results=[ObjectHypothesis(class_id='7', score=0.8)])
    publisher = peer.node.create_publisher(Classification, 'vpr_node/place', 10)
    process = Process(tmp_path, 'tools.examples.follow_places')

    def published() -> bool:
        publisher.publish(known)
        publisher.publish(Classification())
        return {'place 7, confidence 0.80', 'unknown'} <= set(process.stdout.splitlines())

    try:
        until(published, 'both lines', lambda: peer.spin(0.1))
        assert process.stop()[0] == 0, process.stderr
        assert 'Traceback' not in process.stderr
    finally:
        process.kill()


def test_nav2_is_slowed_down_while_the_place_is_unknown():
    caution = Caution(patience_s=10.0, percentage=30.0, answers=3)
    assert caution.limit(500.0) == NO_LIMIT, 'it has just begun'
    caution = Caution(patience_s=10.0, percentage=30.0, answers=3)
    caution.heard(True, 1.0)
    for second in range(2, 11):
        caution.heard(False, float(second))
        assert caution.limit(second) == NO_LIMIT
    assert caution.limit(11.5) == 30.0
    for known in (True, True, False, True, True):  # no three in a row
        caution.heard(known, 12.0)
        assert caution.limit(12.0) == 30.0
    caution.heard(True, 13.0)
    assert caution.limit(13.0) == NO_LIMIT
    assert caution.limit(23.5) == 30.0, 'no answer at all'


@pytest.mark.parametrize(
    'module, parameter',
    [
        (relocalise_amcl, 'lost_stddev:=.nan'),
        (relocalise_amcl, 'pause_s:=soon'),
        (slow_when_lost, 'patience_s:=true'),
        (slow_when_lost, 'percentage:=0.0'),  # nav2 would take it for no limit
        (slow_when_lost, 'percentage:=101'),
    ],
)
def test_an_example_refuses_what_makes_no_sense(module, parameter: str, tmp_path: Path) -> None:
    nav2 = tmp_path / 'nav2_msgs'  # found in the folder of the process
    nav2.mkdir()
    (nav2 / '__init__.py').touch()
    (nav2 / 'msg.py').write_text('from std_msgs.msg import Float32 as SpeedLimit')
    process = Process(tmp_path, module.__name__, '--ros-args', '-p', parameter)
    try:
        assert process.wait() == 1
    finally:
        process.kill()
    name = parameter.partition(':')[0]
    (line,) = process.stderr.splitlines()
    assert line.startswith(f'error: {name} is ') and '; give a number above 0' in line


def spread(stddev: float) -> PoseWithCovarianceStamped:
    """AMCL's pose with a standard deviation in metres."""
    message = PoseWithCovarianceStamped()
    message.pose.covariance[0] = message.pose.covariance[7] = stddev**2
    return message


def test_amcl_is_told_only_when_it_is_lost(peer: Peer) -> None:
    calls = []

    def relocalize(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        calls.append(request)
        response.success = len(calls) > 1  # the first time no place is recognised
        return response

    peer.node.create_service(Trigger, 'vpr_node/relocalize', relocalize)
    example, answers = RelocaliseAmcl(), []
    heed = example.on_answer
    example.on_answer = lambda answer: answers.append(heed(answer))
    peer._executor.add_node(example)
    try:
        peer.until(example.relocalize.service_is_ready, 'the service')
        example.on_pose(spread(0.3))
        example.on_timer()
        assert example.asked_at == -math.inf
        example.on_pose(spread(9.0))
        peer.until(lambda: len(calls) == 2, 'a second try after a refusal')
        peer.until(lambda: len(answers) == 2, 'its answer')
        asked_at = example.asked_at
        example.on_timer()
        assert example.asked_at == asked_at, 'AMCL needs a pause'
        example.asked_at = asked_at + 1000.0  # by a simulated clock that is set back
        example.on_timer()
        assert example.asked_at < asked_at + 1000.0
        for variance in (-1e-9, math.nan):
            example.on_pose(spread(0.3))
            message = spread(0.3)
            message.pose.covariance[7] = variance
            example.on_pose(message)
            assert example.stddev == math.inf
    finally:
        example.destroy_node()
