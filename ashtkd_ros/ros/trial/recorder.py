# SPDX-License-Identifier: Apache-2.0
"""Record topics into a rosbag2 of MCAP files; ros2 bag need not be installed.

Topics are recorded from when they appear. A full disk ends the file and is said at once; as soon
as there is room, another file is begun. After a kill all but about the last second can be read.

example: ros2 run ashtkd_ros trial_recorder -o ~/vpr_bags/monday /camera/image_raw /odom /fix
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name

from ashtkd_ros.bags.bag_recording import BagRecording, check_new_bag
from ashtkd_ros.cli.arguments import count, not_negative
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.errors import VprError, error_text
from ashtkd_ros.ros.eventless_publisher import create_eventless_publisher
from ashtkd_ros.ros.play.play_options import own_arguments
from ashtkd_ros.ros.session import ros_session, spin_node
from ashtkd_ros.ros.signals import ignore_signals, record_interrupts
from ashtkd_ros.ros.trial.topic_listeners import TopicListeners
from ashtkd_ros.text import counted
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.recording_thread import (
    ERROR,
    MB,
    NO_DISK,
    RecordingStatus,
    RecordingThread,
)
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import FAILED, RECORDER_STATUS, RECORDING

_LOOK_S, _DIAGNOSTICS_S = 0.5, 1.0
_STALLED_S = 5.0  # of the disk
_END_S = 20.0  # for what waits to be written


class Recorder(Node):
    """Records `topics` into `bag` until it is destroyed; `close` then ends the bag.

    `trial`: where a full disk is written down as an event; None: nowhere.
    """

    def __init__(
        self,
        bag: BagRecording,
        topics: Sequence[str],
        reserve_bytes: int,
        trial: TrialFolder | None = None,
    ):
        super().__init__('trial_recorder')
        self._bag, self._trial, self._lost = bag, trial, 0
        names = list(dict.fromkeys(map(self.resolve_topic_name, topics)))
        self._topics = len(names)
        self._publisher = create_eventless_publisher(self, DiagnosticArray, '/diagnostics', 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_LOOK_S, self._look, clock=steady)
        self.create_timer(_DIAGNOSTICS_S, self._report, clock=steady)
        # last, since whoever creates a node that fails closes the bag
        self._thread = RecordingThread(bag, self._say, reserve_bytes)
        self._listeners = TopicListeners(self, names, self._thread.add, self._thread.count_lost)
        self.get_logger().info(f'recording into {bag.folder}')

    def _look(self) -> None:
        self._listeners.look()

    def _say(self, level: str, text: str, kind: str) -> None:
        logger = self.get_logger()
        if level == ERROR:  # rclpy wants a line of code for each level
            logger.error(text)
        else:
            logger.warning(text)
        if kind and self._trial is not None:
            try:
                self._trial.events.append(LogEntry(kind, text))
            except VprError as error:
                logger.error(str(error))

    def _report(self) -> None:
        """Once a second: the state is published, and logged where messages are lost."""
        status = self._thread.status()
        if status.state == FAILED:
            self.context.try_shutdown()  # `close` tells why
            return
        lost = sum(n for why, n in status.lost.items() if why != NO_DISK)
        level, text = _verdict(status, lost - self._lost)
        self._lost = lost
        if level == DiagnosticStatus.ERROR and status.state == RECORDING:
            self.get_logger().error(text)  # of the other states the thread tells
        message = DiagnosticStatus(
            level=level,
            name=RECORDER_STATUS,
            message=text,
            hardware_id=str(self._bag.folder),
            values=[KeyValue(key=k, value=v) for k, v in self._values(status).items()],
        )
        array = DiagnosticArray(status=[message])
        array.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _values(self, status: RecordingStatus) -> dict[str, str]:
        waiting = self._listeners.waiting
        values = {
            'state': status.state,
            'messages': str(status.messages),
            'bytes': str(status.bytes),
            'lost': str(sum(status.lost.values())),
            'topics': str(self._topics - len(waiting)),
            'file': status.file,
        }
        if status.free_mb is not None:
            values['disk free MB'] = f'{status.free_mb:.0f}'
        if waiting:
            values['not heard yet'] = ' '.join(waiting)
        return values | {f'lost: {why}': str(n) for why, n in sorted(status.lost.items())}

    def close(self) -> None:
        """Write what has come and end the bag; VprError where that is not possible."""
        failure = self._thread.close(_END_S)
        status = self._thread.status()
        size = f'{counted(status.messages, "message")}, {status.bytes / MB:.1f} MB'
        print_lines(f'{size}: {self._bag.folder}')
        for why, number in sorted(status.lost.items()):
            print_notes(f'{counted(number, "message")} lost: {why}')
        if waiting := self._listeners.waiting:
            print_notes(f'never heard: {", ".join(waiting)}')
        if failure:
            raise VprError(failure)


def _verdict(status: RecordingStatus, lost: int) -> tuple[bytes, str]:
    """How bad it is, and why; `lost`: messages in the last second, for want of time."""
    if status.state != RECORDING:
        return DiagnosticStatus.ERROR, status.reason
    if status.stalled_s > _STALLED_S:
        text = f'the disk has not answered for {status.stalled_s:.0f} s; check the disk'
        return DiagnosticStatus.ERROR, text
    if lost:
        text = f'{counted(lost, "message")} LOST in the last second; the machine or its disk is '
        return DiagnosticStatus.ERROR, f'{text}too slow'
    if status.is_low:
        text = f'the disk will be full in {status.minutes_left:.0f} minutes; make room on it'
        return DiagnosticStatus.WARN, text
    return DiagnosticStatus.OK, RECORDING


def topic(text: str) -> str:
    """Type of an argument: the name of a topic."""
    try:
        validate_topic_name(text)
    except InvalidTopicNameException as error:
        what = f'"{text}" is not the name of a topic, such as /camera/image_raw'
        raise argparse.ArgumentTypeError(what) from error
    return text


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('topics', nargs='+', type=topic, metavar='topic', help='a topic to record')
    add('--trial', type=Path, help='folder of a trial: record into its next bag')
    add('-o', '--out', type=Path, help='folder of the bag, which must not exist yet')
    add(
        '--split-s',
        type=not_negative,
        default=300.0,
        help='begin a new file after so many seconds; 0: only when one has 3 GB '
        '(default: %(default)g)',
    )
    add(
        '--reserve-mb',
        type=count,
        default=200,
        help='end the recording when the disk has fewer MB left (default: %(default)d)',
    )


def main(argv: list[str] | None = None) -> None:
    """Record until SIGINT or SIGTERM: exit status 0."""
    argv = sys.argv if argv is None else ['trial_recorder', *argv]
    parser = make_parser(__doc__)
    _add_options(parser)
    args = parser.parse_args(own_arguments(argv))
    if (args.trial is None) == (args.out is None):
        parser.error('give either --trial FOLDER or -o BAG')

    def command() -> int:
        trial = None if args.trial is None else TrialFolder.open(args.trial)
        folder = check_new_bag(args.out) if trial is None else trial.next_bag()
        interrupts = record_interrupts()
        with contextlib.suppress(KeyboardInterrupt), ros_session(argv):
            try:
                if not interrupts:
                    _run(BagRecording(folder, args.split_s), args, trial)
            finally:
                ignore_signals()
        return 0

    run_command(command)


def _run(bag: BagRecording, args: argparse.Namespace, trial: TrialFolder | None) -> None:
    try:
        node = Recorder(bag, args.topics, args.reserve_mb * MB, trial)
    except Exception as error:  # RCLError: invalid names, keys of SROS2, the middleware
        bag.close()
        if not rclpy.ok():  # a signal has closed the context
            return
        raise VprError(f'the node cannot be created: {error_text(error)}') from error
    spin_node(node, node.close)


if __name__ == '__main__':
    main()
