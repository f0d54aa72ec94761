# SPDX-License-Identifier: Apache-2.0
"""One simulated trial: the robot drives, `vpr_trial` runs it, and what is planned goes wrong."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ashtkd_ros.ros.trial.processes import running

from ashtkd_ros.cli.child_process import ChildProcess, child_process
from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.vocabulary import STARTED
from tools.trial import plan
from tools.trial.operator import Operator
from tools.trial.robot_process import RobotProcess, robot_process
from tools.trial.verdict import Injected

LOG = 'vpr_trial.log'
GO_S = 3.0  # after the start of the trial, when the node is up
_NS = 1e9
_START_S, _END_S, _PROCESS_S = 90.0, 60.0, 10.0
_NAMED = 'trial: '  # the line with which the supervisor names the folder


@dataclass(frozen=True)
class Site:
    """Where trials are driven: `trials`: their folder; `place_map`: the map, None: not yet one;
    `other_map`: what the operator swaps it with."""

    trials: Path
    place_map: Path | None = None
    other_map: Path | None = None


class Driving:
    """A trial that runs; `injected`: what was made to go wrong so far."""

    def __init__(self, folder: TrialFolder, robot: RobotProcess, operator: Operator, site: Site):
        self._folder, self._robot, self._operator, self._site = folder, robot, operator, site
        self._started_ns = _started(folder, operator)
        self.injected: list[Injected] = []
        self._is_swapped = False

    @property
    def _seconds(self) -> float:
        return (time.monotonic_ns() - self._started_ns) / _NS

    def run(self, planned: plan.PlannedTrial, check: Callable[[], None]) -> None:
        """Drive to the end; `check` is called all the time."""
        steps = [(GO_S, self._robot.go)]
        steps += [(f.at, lambda f=f: self._inject(f)) for f in planned.faults]
        steps += [(m.at, lambda m=m: self._operator.mark(m)) for m in planned.marks]
        steps += [
            (f.at + f.seconds, lambda: self._limit_files(resource.RLIM_INFINITY))
            for f in planned.faults
            if f.fault == plan.DISK_FULL
        ]
        steps.append((planned.seconds, lambda: None))
        for at, step in sorted(steps, key=lambda s: s[0]):
            while (left := at - self._seconds) > 0:
                check()
                self._operator.wait(left)
            step()

    def _inject(self, fault: plan.Fault) -> None:
        minute = self._seconds / 60.0
        if fault.fault in plan.SENSOR_FAULTS:
            self._robot.fault(fault.fault, fault.seconds)
        elif fault.fault in plan.KILLED:
            injected = Injected(fault, minute)
            os.kill(self._pid(injected.process), signal.SIGKILL)
        elif fault.fault == plan.DISK_FULL:
            self._limit_files(0)
        else:
            self._swap_map()
        self.injected.append(Injected(fault, minute))

    def _pid(self, name: str) -> int:
        """VprError where no such process of the trial appears."""
        end = time.monotonic() + _PROCESS_S
        while (pid := running(self._folder.path).get(name)) is None:
            if time.monotonic() > end:
                raise VprError(f'{name} does not run, so that it cannot get its fault')
            self._operator.wait(0.1)
        return pid

    def _limit_files(self, size: int) -> None:
        """Bytes up to which the recorder may write: with 0 the kernel refuses it every byte, as it
        does where a disk is full."""
        pid = self._pid(plan.KILLED[plan.RECORDER_KILLED])
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        soft = hard if size == resource.RLIM_INFINITY else size
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))

    def _swap_map(self) -> None:
        """As a careless operator does it: in mid-trial, another map in the place of this one."""
        self._exchange_maps()
        self._operator.reload_map()

    def put_map_back(self) -> None:
        """Undo a swap of maps; the trial has ended."""
        if self._is_swapped:
            self._exchange_maps()

    def _exchange_maps(self) -> None:
        used, other = self._site.place_map, self._site.other_map
        aside = used.with_name(f'{used.name}.aside')
        for source, target in ((used, aside), (other, used), (aside, other)):
            os.rename(source, target)
        self._is_swapped = not self._is_swapped


def _started(folder: TrialFolder, operator: Operator) -> int:
    """Monotonic nanoseconds of the start of the trial, once that has come."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        for entry in folder.events.read()[0]:
            if entry.kind == STARTED:
                return entry.monotonic_ns
        operator.wait(0.1)
    raise VprError(f'{folder.path}: the trial has not started within {_START_S:.0f} s')


def _command(planned: plan.PlannedTrial, site: Site) -> list[str]:
    command = [sys.executable, '-m', 'ashtkd_ros.ros.trial.supervisor', '--trial', planned.name]
    command += ['--trials-folder', str(site.trials), '--condition', planned.condition]
    command += ['--operator', 'tools.trial', '--robot', 'simulated', '--route', 'rendered town']
    command += ['--planned-minutes', f'{planned.seconds / 60:.1f}']
    command += ['--image-topic', '/camera/image_raw', '--image-transport', 'compressed']
    command += ['--odom-topic', '/odom', '--fix-topic', '/fix', '--battery-topic', '/battery']
    if site.place_map is None:
        return [*command, '--node', 'false']
    return [*command, '--map-path', str(site.place_map), '--num-threads', '1']


def _folder_of(supervisor: ChildProcess, operator: Operator) -> TrialFolder:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        supervisor.check()
        for line in supervisor.lines():
            if line.startswith(_NAMED):
                return TrialFolder.open(Path(line.removeprefix(_NAMED)))
        operator.wait(0.1)
    raise VprError(f'vpr_trial has named no trial within {_START_S:.0f} s')


def drive(
    planned: plan.PlannedTrial, walk: Path, site: Site, operator: Operator, seed: int
) -> tuple[TrialFolder, list[Injected]]:
    """Drive one trial through a rendered walk, from its check list to its end.

    VprError where a part of it does not start, or ends too early.
    """
    site.trials.mkdir(parents=True, exist_ok=True)
    arguments = [str(walk), '--condition', planned.condition, '--seed', str(seed)]
    with (
        robot_process(arguments) as robot,
        child_process('vpr_trial', _command(planned, site), end_s=_END_S) as supervisor,
    ):
        folder = _folder_of(supervisor, operator)
        try:
            driving = Driving(folder, robot, operator, site)
            try:
                driving.run(planned, supervisor.check)
            finally:
                supervisor.end(_END_S)
                driving.put_map_back()
        finally:
            text = '\n'.join(supervisor.lines())
            (folder.path / LOG).write_text(f'{text}\n', encoding='utf-8')
    return folder, driving.injected
