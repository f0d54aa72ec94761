# SPDX-License-Identifier: Apache-2.0
"""Watch an outdoor trial: what goes wrong is said at once, published, and written into the trial.

It also takes the operator's marks, by the topic trial/mark ("KIND TEXT") and by the services
trial/mark_KIND, in the namespace of the trial. vpr_trial starts it; the trial's configuration
says what is to be watched.

example: ros2 run ashtkd_ros trial_watch --trial ~/vpr_trials/2026-11-28_09-05-07_campus
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.ros.eventless_publisher import create_eventless_publisher
from ashtkd_ros.ros.session import ros_session, spin_node
from ashtkd_ros.ros.signals import ignore_signals, record_interrupts
from ashtkd_ros.ros.timeouts import LatestResult
from ashtkd_ros.ros.trial.events import Events
from ashtkd_ros.ros.trial.feeds import Feeds
from ashtkd_ros.ros.trial.log_writing import LogWriter
from ashtkd_ros.ros.trial.marks import Marks
from ashtkd_ros.ros.trial.processes import SUPERVISOR
from ashtkd_ros.ros.trial.watch_settings import WatchSettings
from ashtkd_ros.trials.equipment import map_state
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.moment import Moment
from ashtkd_ros.trials.vocabulary import PROCESS_DIED, WATCH_STATUS
from ashtkd_ros.trials.watching import Watch

_TICK_S, _LOOK_S, _MAP_S = 0.25, 1.0, 3.0
_END_S = 5.0  # for lines that wait for the disk
_MAIN = 'vpr_trial'


class TrialWatch(Node):
    """Feeds the watch, and tells what it says."""

    def __init__(self, trial: TrialFolder):
        settings = WatchSettings.of_trial(trial)
        super().__init__('trial_watch', namespace=settings.namespace)
        self._trial = trial
        self.writer = LogWriter()
        self._events = Events(self, trial, self.writer)
        self._watch = Watch(settings.cameras, settings.recorder, bool(settings.nodes))
        self._watch.resume(self._events.going_on, Moment.now())
        self._marks = Marks(self, trial, self.writer)
        self._feeds = Feeds(self, settings, self._watch, self._events.tell, self._marks.place)
        self._parent = _supervisor()
        self._status = create_eventless_publisher(self, DiagnosticArray, '/diagnostics', 10)
        self._map = next((path for _, path in settings.of_check.equipment), '')
        self._map_state = LatestResult('map watch', lambda: map_state(Path(self._map)), None)
        self._map_before: str | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_TICK_S, self._tick, clock=steady)
        self.create_timer(_LOOK_S, self._look, clock=steady)
        if self._map:
            self._look_at_map()
            self.create_timer(_MAP_S, self._look_at_map, clock=steady)
        self.get_logger().info(f'watching {trial.path}')

    def _tick(self) -> None:
        self._events.tell(self._watch.tick(Moment.now()))

    def _look(self) -> None:
        """Once a second: new topics, what others wrote, whether the supervisor lives."""
        self._feeds.look()
        self._events.follow()
        if self._parent and os.getppid() != self._parent:
            self._parent = 0
            text = f'{_MAIN} has died; the trial goes on, but nothing is started again; '
            text += f'end it by: ros2 run ashtkd_ros {_MAIN} --end {quote(str(self._trial.path))}'
            self._events.tell([Moment.now().entry(PROCESS_DIED, text, process=_MAIN)])
        if fault := self.writer.fault:
            text = f'events and marks are not written down: {fault}'
            self.get_logger().error(text, throttle_duration_sec=10.0)
        self._report(fault)

    def _look_at_map(self) -> None:
        """Nothing waits for the disk. A map that is being replaced may be gone for a moment."""
        state, before = self._map_state.get(), self._map_before
        self._map_before = state
        if state is None or (not state and before != state):
            return
        self._events.tell(self._watch.map_on_disk(self._map, state, Moment.now()))

    def _report(self, fault: str) -> None:
        """The state of the trial, once a second on /diagnostics."""
        going_on = [begin.text for begin in self._events.going_on]
        values = {'events': str(self._events.count), 'marks': str(self._marks.count)}
        for camera, hz in self._watch.rates_hz.items():
            values[f'{camera} Hz'] = f'{hz:.1f}'
            values[f'{camera} fault'] = self._feeds.cameras[camera].fault
        troubles = [*([f'events are not written down: {fault}'] if fault else []), *going_on]
        level = DiagnosticStatus.ERROR if troubles else DiagnosticStatus.OK
        status = DiagnosticStatus(
            level=level,
            name=WATCH_STATUS,
            message='; '.join(troubles) or 'all is well',
            hardware_id=str(self._trial.path),
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)


def _supervisor() -> int:
    """Number of the process that keeps the trial running; 0 where nobody does."""
    told = os.environ.get(SUPERVISOR, '')
    return os.getppid() if told == str(os.getppid()) else 0


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: runs until SIGINT or SIGTERM."""
    parser = make_parser(__doc__)
    parser.add_argument('--trial', type=Path, required=True, help='folder of the trial')
    args = parser.parse_args(argv)

    def command() -> int:
        trial, interrupts = TrialFolder.open(args.trial), record_interrupts()
        with contextlib.suppress(KeyboardInterrupt), ros_session([]):
            try:
                return 0 if interrupts else _run(trial)
            finally:
                ignore_signals()
        return 0

    run_command(command)


def _run(trial: TrialFolder) -> int:
    node = TrialWatch(trial)
    spin_node(node, lambda: node.writer.close(_END_S))
    return 0


if __name__ == '__main__':
    main()
