# SPDX-License-Identifier: Apache-2.0
"""Drive an outdoor trial: check list, node, recorder and watch, each started again when it dies.

A new folder DATE_TIME_NAME gets everything: sheet, configuration, check list, bag, marks and
events. Ctrl-C ends the trial. What follows --ros-args is given to every vpr_node.
`ros2 launch ashtkd_ros outdoor_test.launch.py` is the same, with NAME:=VALUE for --name VALUE.

example: ros2 run ashtkd_ros vpr_trial --map-path ~/maps/campus --image-topic /camera/image_raw
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.cli.terminal import print_error, print_lines
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.ros.trial.processes import (
    MOST_STARTS,
    Child,
    end_all,
    never_wait_for_output,
    other_trials,
    running,
    supervisor_of,
)
from ashtkd_ros.ros.trial.trial_options import all_arguments, trial_parser
from ashtkd_ros.ros.trial.trial_plan import CHECK, RECORDER, WATCH, TrialPlan
from ashtkd_ros.trials.folder import CHECKS, TrialFolder
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import ENDED, PROCESS_BACK, PROCESS_DIED, STARTED

_LOOK_S = 0.2
_CHECK_S = 180.0  # longest time of the check list
# Closing a long bag takes a while.
_NODE_END_S, _RECORDER_END_S, _WATCH_END_S = 15.0, 60.0, 10.0
_END_COMMAND = 'ros2 run ashtkd_ros vpr_trial --end'
_CHECKS_LIMIT = 2**20  # bytes


class Supervisor:
    """Runs a trial until a signal ends it."""

    def __init__(self, plan: TrialPlan, trial: TrialFolder):
        self._plan, self._trial = plan, trial
        commands = plan.commands(trial)
        self._children = [Child(name, commands[name], trial.path) for name in commands]
        self._signals: list[int] = []
        self._unwritten: deque[LogEntry] = deque()  # events that the disk has refused
        self._fault = ''
        self._parent = os.getppid()
        self._parent_name = _name_of(self._parent)

    def run(self) -> int:
        """Check, start, keep running, end; exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a connection that breaks ends no trial
        for other in other_trials(self._trial.path):
            _say(f'{other} still runs as well; end it by: {_END_COMMAND} {quote(other)}')
        self._trial.write_configuration(self._plan.configuration())
        if self._plan.checked != 'false':
            self._check()
        if self._signals:
            return 0
        cameras = self._checks().get('cameras')
        topics = cameras if isinstance(cameras, list) else []
        self._trial.write_configuration(self._plan.configuration(topics))
        self._note(LogEntry(STARTED, f'the trial begins: {self._trial.path.name}'))
        try:
            for child in self._children:
                if problem := child.start():
                    self._say_died(child, None, problem)
            while not self._signals:
                self._look()
                time.sleep(_LOOK_S)
        finally:
            self._end()
        return 0

    def _check(self) -> None:
        """Make the check list; VprError for a no-go, unless it shall only warn."""
        child = Child(CHECK, self._plan.check_command(self._trial), self._trial.path)
        problem = child.start()
        status, end = (None, time.monotonic() + _CHECK_S)
        while not problem and status is None and not self._signals and time.monotonic() < end:
            status = child.died()
            time.sleep(_LOOK_S)
        child.ask_to_end()
        child.wait(_NODE_END_S)
        if status == 0 or self._signals:
            return
        why = 'no-go' if status == 1 else f'the check list was not made ({problem or "see above"})'
        if self._plan.checked == 'warn':
            _say(f'{why}; the trial begins nevertheless')
            return
        raise VprError(f'{why}, so nothing is started; mend it, or go on with check warn')

    def _checks(self) -> dict:
        try:
            values = parse_json(read_regular(self._trial.path / CHECKS, _CHECKS_LIMIT).decode())
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def _look(self) -> None:
        """Look once at every child, and at what has started this process."""
        self._write_down()
        for child in self._children:
            if (status := child.died()) is not None:
                self._say_died(child, status)
            if problem := child.start_again():
                self._say_died(child, None, problem)
            if seconds := child.back():
                text = f'{child.name} runs again after {seconds:.1f} s'
                values = {'process': child.name, 'seconds': round(seconds, 1)}
                self._note(LogEntry(PROCESS_BACK, text, values=values))
        if os.getppid() != self._parent and not self._signals:
            self._parent = os.getppid()
            text = f'{self._parent_name}, which started the trial, has ended; the trial goes on; '
            text += f'end it by: {_END_COMMAND} {quote(str(self._trial.path))}'
            self._note(LogEntry(PROCESS_DIED, text, values={'process': self._parent_name}))

    def _say_died(self, child: Child, status: int | None, problem: str = '') -> None:
        how = f'cannot be started ({problem})' if problem else f'has {_words(status)}'
        then = 'it is started again'
        if child.given_up:
            then = f'it was started again {MOST_STARTS} times and is left alone now'
        lost = ': NOTHING IS RECORDED meanwhile' if child.name == RECORDER else ''
        values = {'process': child.name, 'exit': status}
        self._note(LogEntry(PROCESS_DIED, f'{child.name} {how}; {then}{lost}', values=values))

    def _note(self, entry: LogEntry) -> None:
        """Say an event and write it down; neither may end the trial."""
        _say(entry.text)
        self._unwritten.append(entry)
        self._write_down()

    def _write_down(self) -> None:
        """Write down the events that wait for it; a disk may refuse them for a while."""
        try:
            while self._unwritten:
                self._trial.events.append(self._unwritten[0])
                self._unwritten.popleft()
            self._fault = ''
        except VprError as error:
            before, self._fault = self._fault, str(error)
            if self._fault != before:
                with contextlib.suppress(OSError, ValueError):
                    print_error(self._fault)

    def _end(self) -> None:
        """End the children, those first that feed the others."""
        self._note(LogEntry(ENDED, 'the trial ends'))
        nodes = [c for c in self._children if c.name not in (RECORDER, WATCH)]
        for names, seconds in (
            ([c.name for c in nodes], _NODE_END_S),
            ([RECORDER], _RECORDER_END_S),
            ([WATCH], _WATCH_END_S),
        ):
            group = [c for c in self._children if c.name in names]
            for child in group:
                child.ask_to_end()
            for child in group:
                if not child.wait(seconds):
                    _say(f'{child.name} did not end within {seconds:.0f} s and was killed')
        _say(f'the trial lies in {self._trial.path}')
        _say(f'its report: ros2 run ashtkd_ros trials report {quote(str(self._trial.path))}')


def _words(status: int | None) -> str:
    if not status:
        return 'ended by itself'
    if status > 0:
        return f'ended with exit status {status}'
    with contextlib.suppress(ValueError):
        return f'been killed by {signal.Signals(-status).name}'
    return f'been killed by signal {-status}'


def _name_of(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/comm').read_text().strip()
    except OSError:
        return 'what is not known'


def _say(text: str) -> None:
    """Print a line; nobody may be listening any more."""
    with contextlib.suppress(OSError, ValueError):
        print_lines(text)


def end_trial(path: Path) -> None:
    """End a trial that still runs, also without its supervisor; VprError where none does."""
    trial = TrialFolder.open(path)
    if supervisor := supervisor_of(trial.path):
        end_all([supervisor], _NODE_END_S + _RECORDER_END_S + _WATCH_END_S + 5.0)
        return
    pids = running(trial.path)
    if not pids:
        raise VprError(
            f'{path}: nothing of this trial runs on this machine; stop it where it runs'
        )
    with contextlib.suppress(VprError):  # a full disk
        trial.events.append(LogEntry(ENDED, 'the trial ends, long after its supervisor'))
    last = [(name, s) for name, s in ((RECORDER, _RECORDER_END_S), (WATCH, _WATCH_END_S))]
    nodes = [pid for name, pid in pids.items() if name not in (RECORDER, WATCH)]
    end_all(nodes, _NODE_END_S)
    for name, seconds in last:
        end_all([pids[name]] if name in pids else [], seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exit status 1 for a no-go."""
    words = list(sys.argv[1:] if argv is None else argv)
    own = words[: words.index('--ros-args')] if '--ros-args' in words else words
    args = trial_parser(__doc__).parse_args(own)

    def command() -> int:
        if args.end is not None:
            end_trial(args.end)
            print_lines(f'the trial has ended: {args.end}')
            return 0
        given = {name: getattr(args, name) for name, _, _ in all_arguments()}
        plan = TrialPlan(given, words[len(own) + 1 :])
        plan.check()
        trial = plan.create_folder()
        never_wait_for_output()
        _say(f'trial: {trial.path}')
        return Supervisor(plan, trial).run()

    run_command(command)


if __name__ == '__main__':
    main()
