# SPDX-License-Identifier: Apache-2.0
"""The dashboard's ears: which node, whatever its QoS and names, and that nothing gets lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')
pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

import rclpy
from ros_helpers import until
from std_msgs.msg import String
from trial_fakes import BEST_EFFORT, EVENTS, FakeNode, FakeTrial

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.trial.polled_subscriptions import PolledSubscriptions
from ashtkd_ros.ros.trial.trial_topics import TrialTopics
from ashtkd_ros.trials.dashboard.marks import SAVED
from ashtkd_ros.trials.dashboard.state import DashboardState

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


@pytest.fixture
def made(ros) -> Iterator[Callable]:
    """Makes what is closed at the end."""
    things = []

    def make(kind: type, *arguments: object, **options: object):
        things.append(kind(*arguments, **options))
        return things[-1]

    yield make
    for thing in things:
        thing.close()


def listen(topics: TrialTopics, condition: Callable[[], object], what: str, *beating) -> None:
    """Poll, as the dashboard does, until `condition`; the fakes beat meanwhile."""

    def step() -> None:
        for fake in beating:
            fake.beat()
        topics.poll()
        time.sleep(0.1)

    until(condition, what, step)


def test_the_only_node_is_found_and_heard(made) -> None:
    node, state = made(FakeNode), DashboardState()
    topics = made(TrialTopics, state)
    node.load_map()
    listen(topics, lambda: state.node, 'the node', node)
    assert state.node == '/front/vpr_node'
    listen(topics, lambda: state.places is not None, 'the map', node)
    assert state.places.tolist() == [[0, 0], [1, 2], [2, 4]]
    listen(topics, lambda: state.name, 'a place', node, Answering(node))
    assert [(c.place, c.confidence) for c in state.place.value] == [('12', 0.87)]
    listen(topics, lambda: state.pose, 'a pose', node, Answering(node))
    assert (state.name, state.pose.value.x, state.pose.value.yaw) == ('Gate', 1.5, 0.0)
    assert state.node_status.value.values['images received Hz'] == '10.0'


class Answering:
    """A beat that is an answer."""

    def __init__(self, node: FakeNode):
        self.beat = node.answer


def test_markers_come_once_a_map_not_with_each_image(made) -> None:
    node, state = made(FakeNode), DashboardState()
    topics = made(TrialTopics, state)
    node.load_map()
    listen(topics, lambda: state.places is not None, 'the map', node)
    listen(topics, lambda: not node.marker_subscribers(), 'the end of the subscription', node)
    node.load_map(5)
    listen(topics, lambda: len(state.places) == 5, 'the next map', node)


def test_several_nodes_are_named_in_one_line(made) -> None:
    front, rear = made(FakeNode), made(FakeNode, '/rear')
    topics = made(TrialTopics, DashboardState())
    with pytest.raises(VprError) as error:
        listen(topics, lambda: False, 'an error', front, rear)
    assert str(error.value) == (
        'there are /front/vpr_node and /rear/vpr_node; name one of them by --node'
    )


def test_a_node_that_is_named_is_heard_among_others(made) -> None:
    front, rear, state = made(FakeNode), made(FakeNode, '/rear'), DashboardState()
    topics = made(TrialTopics, state, 'rear/vpr_node')
    listen(topics, lambda: state.place, 'a place', front, rear, Answering(rear))
    assert state.node == '/rear/vpr_node'


def test_a_node_without_diagnostics_is_found_in_the_graph(made) -> None:
    node, state = made(FakeNode), DashboardState()
    topics = made(TrialTopics, state)
    listen(topics, lambda: state.place, 'a place', Answering(node))
    assert (state.node, state.node_status) == ('/front/vpr_node', None)


@pytest.mark.parametrize('name', ['a b', '/1x', '/a//b', 'x\n', '~'])
def test_what_is_no_name(name: str, ros) -> None:
    with pytest.raises(VprError, match='is no name of a node'):
        TrialTopics(DashboardState(), name)


def test_a_node_that_sends_best_effort_is_heard(made) -> None:
    node, state = made(FakeNode, place_qos=BEST_EFFORT), DashboardState()
    topics = made(TrialTopics, state)
    listen(topics, lambda: state.name, 'a name', node, Answering(node))


@pytest.mark.parametrize('qos', [EVENTS, BEST_EFFORT], ids=['latched', 'best effort'])
def test_events_are_heard_whatever_their_qos(made, qos) -> None:
    trial, state = made(FakeTrial, events=qos), DashboardState()
    topics = made(TrialTopics, state)
    if qos is EVENTS:
        trial.happen('started', 'before anybody listened')

    def again() -> None:
        trial.happen('camera stopped', 'now')

    once = type('Once', (), {'beat': staticmethod(again)})
    listen(topics, lambda: len(state.events) >= 2, 'events', trial, once)
    assert (state.events[0].kind == 'started') is (qos is EVENTS)


def test_no_mark_and_no_acknowledgement_is_lost(made) -> None:
    trial, state = made(FakeTrial), DashboardState()
    topics = made(TrialTopics, state)
    listen(topics, lambda: state.recorder and state.watch, 'the trial', trial)
    for number in range(15):  # over several looks at the graph
        topics.mark('note', f'{number}')
        listen(topics, lambda n=number: len(trial.marks) > n, 'the mark', trial)
    listen(topics, lambda: state.marks.word(state.marks.kept[-1]) == SAVED, 'the last', trial)
    assert trial.marks == [f'note {n}' for n in range(15)]
    assert {state.marks.word(mark) for mark in state.marks.kept} == {SAVED}


def test_a_trial_in_the_namespace_of_its_robot(made) -> None:
    trial, node, state = (
        made(FakeTrial, '/robot'),
        made(FakeNode, '/robot/front'),
        DashboardState(),
    )
    topics = made(TrialTopics, state)
    trial.happen('started', 'here')
    listen(topics, lambda: state.events, 'an event', trial, node)
    topics.mark('start', '')
    listen(topics, lambda: trial.marks, 'the mark', trial, node)
    assert trial.marks == ['start']


def test_a_subscription_that_fits_is_kept(made) -> None:
    """What is made anew loses what comes meanwhile."""
    node = rclpy.create_node('listener', namespace='/here')
    heard: list = []
    topics = PolledSubscriptions(node)
    sender = node.create_publisher(String, 'told', 10)
    topics.hear('told', String, 'told', heard.append)
    until(sender.get_subscription_count, 'the subscription', lambda: time.sleep(0.05))
    for number in range(20):
        sender.publish(String(data=str(number)))
        topics.hear('told', String, 'told', heard.append, 10)
        until(lambda n=number: len(heard) > n, f'message {number}', topics.poll)
    topics.forget('told')
    until(lambda: not sender.get_subscription_count(), 'its end', lambda: time.sleep(0.05))
    node.destroy_node()
