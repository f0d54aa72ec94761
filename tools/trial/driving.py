# SPDX-License-Identifier: Apache-2.0
"""One simulated trial, driven by its plan: the robot goes, marks are made, things go wrong."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.trial.processes import running
from ashtkd_ros.trials.folder import TrialFolder
from tools.trial import plan
from tools.trial.operator import Operator
from tools.trial.supervised import RunningTrial, Site, running_trial
from tools.trial.verdict import Injected

GO_S = 3.0  # after the start of the trial, when the node is up
_PROCESS_S = 10.0  # to find a process that is to be killed


class Driving:
    """Drives a trial; `injected`: what was made to go wrong so far."""

    def __init__(self, trial: RunningTrial, site: Site, operator: Operator):
        self._trial, self._site, self._operator = trial, site, operator
        self._is_swapped = False
        self.injected: list[Injected] = []

    def run(self, planned: plan.PlannedTrial) -> None:
        """Drive to the end. VprError where the trial or the robot ends before."""
        steps = [(GO_S, self._trial.robot.go), (planned.seconds, lambda: None)]
        steps += [(f.at, lambda f=f: self._inject(f)) for f in planned.faults]
        steps += [(m.at, lambda m=m: self._operator.mark(m)) for m in planned.marks]
        full = [f for f in planned.faults if f.fault == plan.DISK_FULL]
        steps += [(f.at + f.seconds, self._make_room) for f in full]
        for at, step in sorted(steps, key=lambda s: s[0]):
            while (left := at - self._trial.seconds) > 0:
                self._check()
                self._operator.wait(left)
            step()

    def _check(self) -> None:
        """VprError where the supervisor has ended, but not by us."""
        if all(i.fault.fault != plan.SUPERVISOR_KILLED for i in self.injected):
            self._trial.supervisor.check()

    def _inject(self, fault: plan.Fault) -> None:
        injected = Injected(fault, self._trial.seconds / 60.0)
        if fault.fault in plan.SENSOR_FAULTS:
            self._trial.robot.fault(fault.fault, fault.seconds)
        elif fault.fault == plan.SUPERVISOR_KILLED:
            os.kill(self._trial.supervisor.pid, signal.SIGKILL)
        elif fault.fault in plan.KILLED:
            os.kill(self._pid(injected.process), signal.SIGKILL)
        elif fault.fault == plan.DISK_FULL:
            self._limit_files(0)
        else:  # as a careless operator does it, in mid-trial
            self._exchange_maps()
            self._operator.reload_map()
        self.injected.append(injected)

    def _pid(self, name: str) -> int:
        """VprError where no such process of the trial appears."""
        end = time.monotonic() + _PROCESS_S
        while (pid := running(self._trial.folder.path).get(name)) is None:
            if time.monotonic() > end:
                raise VprError(f'{name} does not run, so that it cannot get its fault')
            self._operator.wait(0.1)
        return pid

    def _limit_files(self, size: int | None) -> None:
        """Bytes up to which the recorder may write a file, None: any number. With 0 the kernel
        refuses it every byte, as it does where a disk is full."""
        pid = self._pid(plan.KILLED[plan.RECORDER_KILLED])
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def _make_room(self) -> None:
        self._limit_files(None)

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


def drive(
    planned: plan.PlannedTrial, walk: Path, site: Site, operator: Operator, seed: int
) -> tuple[TrialFolder, list[Injected]]:
    """Drive one trial through a rendered walk, from its check list to its end.

    VprError where a part of it does not start, or ends too early.
    """
    arguments = [str(walk), '--seed', str(seed)]
    with (
        contextlib.ExitStack() as afterwards,
        running_trial(planned, arguments, site, operator) as trial,
    ):
        driving = Driving(trial, site, operator)
        afterwards.callback(driving.put_map_back)
        driving.run(planned)
    return trial.folder, driving.injected
