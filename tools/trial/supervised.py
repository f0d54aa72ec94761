# SPDX-License-Identifier: Apache-2.0
"""A trial of the simulated robot under way: the robot, and `vpr_trial` that runs the rest."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ashtkd_ros.cli.child_process import ChildProcess, child_process
from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.vocabulary import STARTED
from tools.trial.operator import Operator
from tools.trial.plan import PlannedTrial
from tools.trial.robot_process import RobotProcess, robot_process

# In the folder of the trial: all that its processes have said, and where the robot really was.
LOG, TRUTH = 'vpr_trial.log', 'truth.csv'
END_S = 60.0  # that closing the bags may take
_START_S = 90.0
_SUPERVISOR = (sys.executable, '-m', 'ashtkd_ros.ros.trial.supervisor')
_NAMED = 'trial: '  # the line with which the supervisor names the folder
_Found = TypeVar('_Found')


@dataclass(frozen=True)
class Site:
    """Where trials are driven: `trials`: their folder; `place_map`: the map, None: not yet one;
    `other_map`: what the operator swaps it with."""

    trials: Path
    place_map: Path | None = None
    other_map: Path | None = None


@dataclass(frozen=True)
class RunningTrial:
    """`started_ns`: of time.monotonic_ns(), the beginning of minute 0."""

    folder: TrialFolder
    robot: RobotProcess
    supervisor: ChildProcess
    started_ns: int

    @property
    def seconds(self) -> float:
        """Since the start of the trial."""
        return (time.monotonic_ns() - self.started_ns) / 1e9

    def end(self) -> None:
        """End it, also if its supervisor was killed: the others have gone on."""
        if not self.supervisor.has_ended:
            self.supervisor.end(END_S)
            return
        command = [*_SUPERVISOR, '--end', str(self.folder.path)]
        with child_process('vpr_trial --end', command) as child:
            if child.process.wait(END_S):
                raise child.failure()


@contextlib.contextmanager
def running_trial(
    planned: PlannedTrial, robot_arguments: list[str], site: Site, operator: Operator
) -> Iterator[RunningTrial]:
    """A trial while the body runs, from the end of its check list on; the robot stands still.

    VprError where a part of it does not start.
    """
    site.trials.mkdir(parents=True, exist_ok=True)
    truth = site.trials / f'.{os.getpid()}_{TRUTH}'  # it begins before there is a folder
    arguments = [*robot_arguments, '--condition', planned.condition, '--truth', str(truth)]
    with (
        contextlib.ExitStack() as afterwards,
        robot_process(arguments) as robot,
        child_process('vpr_trial', _command(planned, site), end_s=END_S) as supervisor,
    ):
        afterwards.callback(truth.unlink, missing_ok=True)
        folder = _until(lambda: _named(supervisor), supervisor, operator)
        afterwards.callback(truth.rename, folder.path / TRUTH)
        try:
            started_ns = _until(lambda: _started(folder), supervisor, operator)
            trial = RunningTrial(folder, robot, supervisor, started_ns)
            try:
                yield trial
            finally:
                trial.end()
        finally:
            text = '\n'.join(supervisor.lines())
            (folder.path / LOG).write_text(f'{text}\n', encoding='utf-8')


def _command(planned: PlannedTrial, site: Site) -> list[str]:
    command = [*_SUPERVISOR, '--trial', planned.name]
    command += ['--trials-folder', str(site.trials), '--condition', planned.condition]
    command += ['--operator', 'tools.trial', '--robot', 'simulated', '--route', 'rendered town']
    command += ['--planned-minutes', f'{planned.seconds / 60:.1f}']
    command += ['--image-topic', '/camera/image_raw', '--image-transport', 'compressed']
    command += ['--odom-topic', '/odom', '--fix-topic', '/fix', '--battery-topic', '/battery']
    if site.place_map is None:
        return [*command, '--node', 'false']
    return [*command, '--map-path', str(site.place_map), '--num-threads', '1']


def _until(
    look: Callable[[], _Found | None], supervisor: ChildProcess, operator: Operator
) -> _Found:
    """What is looked for, once it is there; VprError where the trial ends before, or it takes too
    long."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        supervisor.check()
        if (found := look()) is not None:
            return found
        operator.wait(0.1)
    last = supervisor.lines()[-1:] or ['nothing']
    raise VprError(f'vpr_trial has not started within {_START_S:.0f} s; it said last: {last[0]}')


def _named(supervisor: ChildProcess) -> TrialFolder | None:
    for line in supervisor.lines():
        if line.startswith(_NAMED):
            return TrialFolder.open(Path(line.removeprefix(_NAMED)))
    return None


def _started(folder: TrialFolder) -> int | None:
    entries = folder.events.read()[0]
    return next((e.monotonic_ns for e in entries if e.kind == STARTED), None)
