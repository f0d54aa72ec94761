# SPDX-License-Identifier: Apache-2.0
"""A trial goes on whatever dies, and its events say so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from ros_helpers import PATIENCE_S, Process, environment
from stand_in_trial import NAMES

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.trial import processes
from ashtkd_ros.ros.trial.processes import MOST_STARTS, Child, end_all, running, supervisor_of
from ashtkd_ros.ros.trial.supervisor import end_trial
from ashtkd_ros.trials.folder import TrialFolder, trials_in
from ashtkd_ros.trials.vocabulary import ENDED, PROCESS_BACK, PROCESS_DIED, STARTED

pytestmark = pytest.mark.ros


class Trial(Process):
    """vpr_trial with stand-ins; see `stand_in_trial`."""

    def __init__(self, folder: Path, *options: str, check_status: int = 0):
        self.extra = {'CHECK_STATUS': str(check_status)}
        self.root = folder / 'trials'
        given = ['--trial', 'yard', '--trials-folder', str(self.root), *options]
        super().__init__(folder / 'process', 'stand_in_trial', *given)

    @property
    def folder(self) -> TrialFolder:
        return trials_in(self.root)[0]

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.folder.events.read()[0]]

    def children(self) -> dict[str, int]:
        return running(self.folder.path) if self.root.is_dir() and trials_in(self.root) else {}

    def wait_for_another(self, name: str, pid: int) -> None:
        wait_for(lambda: self.children().get(name, pid) != pid, f'another {name}')


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f'waited in vain for {what}'
        time.sleep(0.1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """Starts a trial; whatever is left of it is ended."""
    trials = []

    def started(*options: str, **given: int) -> Trial:
        trials.append(Trial(tmp_path, *options, **given))
        return trials[-1]

    yield started
    for trial in trials:
        trial.kill()
        end_all(trial.children().values(), 5.0)


def test_each_process_that_is_killed_is_started_again(start):
    trial = start()
    wait_for(lambda: set(trial.children()) == set(NAMES), 'the processes')
    for name in NAMES:
        before = trial.children()
        os.kill(before[name], signal.SIGKILL)
        trial.wait_for_another(name, before[name])
        others = [n for n in NAMES if n != name]
        assert all(trial.children()[n] == before[n] for n in others)
    wait_for(lambda: trial.kinds().count(PROCESS_BACK) == 3, 'the last one to be back')
    status, _ = trial.stop()
    assert status == 0 and trial.children() == {}
    entries, damaged = trial.folder.events.read()
    assert damaged == 0
    assert [e.kind for e in entries][0] == STARTED and entries[-1].kind == ENDED
    died = [(e.values['process'], e.values['exit']) for e in entries if e.kind == PROCESS_DIED]
    assert died == [(name, -signal.SIGKILL) for name in NAMES]
    assert 'NOTHING IS RECORDED' in next(e.text for e in entries if e.kind == PROCESS_DIED)
    path = trial.folder.path
    assert trial.stdout.startswith(f'trial: {path}\n')
    assert f'ros2 run ashtkd_ros trials report {path}' in trial.stdout


def test_the_rest_outlives_the_supervisor_and_can_be_ended(start):
    trial = start()
    wait_for(lambda: set(trial.children()) == set(NAMES), 'the processes')
    assert supervisor_of(trial.folder.path) == trial.pid
    trial.process.send_signal(signal.SIGHUP)  # the connection breaks
    time.sleep(0.5)
    assert trial.alive
    trial.stop(signal.SIGKILL)
    assert set(trial.children()) == set(NAMES) and supervisor_of(trial.folder.path) == 0
    end_trial(trial.folder.path)
    assert trial.children() == {} and trial.kinds() == [STARTED, ENDED]
    with pytest.raises(VprError, match='nothing of this trial runs'):
        end_trial(trial.folder.path)


def test_the_trial_outlives_what_started_it(tmp_path: Path):
    root = tmp_path / 'trials'
    command = [sys.executable, '-m', 'stand_in_trial', '--trial=x', f'--trials-folder={root}']
    starter = f'import subprocess, time; subprocess.Popen({command!r}); time.sleep(600)'
    launch = subprocess.Popen([sys.executable, '-c', starter], env=environment(tmp_path / 'log'))
    try:
        wait_for(lambda: root.is_dir() and trials_in(root), 'the trial')
        (trial,) = trials_in(root)
        wait_for(lambda: set(running(trial.path)) == set(NAMES), 'the processes')
        launch.kill()
        launch.wait()
        wait_for(lambda: len(trial.events.read()[0]) == 2, 'the event')
        died = trial.events.read()[0][1]
        assert died.kind == PROCESS_DIED and f'vpr_trial --end {trial.path}' in died.text
        assert set(running(trial.path)) == set(NAMES)
    finally:
        launch.kill()
        end_trial(trial.path)
    assert running(trial.path) == {}


def test_a_trial_is_ended_through_its_supervisor(start):
    trial = start()
    wait_for(lambda: set(trial.children()) == set(NAMES), 'the processes')
    end_trial(trial.folder.path)
    assert trial.wait() == 0 and trial.kinds() == [STARTED, ENDED]


def test_a_no_go_starts_nothing(start):
    trial = start(check_status=1)
    assert trial.wait() == 1
    assert trial.kinds() == [] and trial.children() == {}
    assert trial.stderr == (
        'error: no-go, so nothing is started; mend it, or go on with check warn\n'
    )


def test_a_no_go_that_shall_only_warn(start):
    trial = start('--check', 'warn', check_status=1)
    wait_for(lambda: set(trial.children()) == set(NAMES), 'the processes')
    assert trial.stop(signal.SIGTERM)[0] == 0
    assert 'no-go; the trial begins nevertheless' in trial.stdout


def test_what_cannot_live_is_left_alone_in_the_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(processes, '_LONGEST_PAUSE_S', 0.0)
    child, deaths = Child('x', ['false'], tmp_path), 0
    assert child.start() == ''
    child._pause = 0.0
    end = time.monotonic() + PATIENCE_S
    while not (child.given_up and child.pid == 0) and time.monotonic() < end:
        deaths += child.died() == 1
        assert child.start_again() == '' and child.back() == 0.0
        time.sleep(0.001)
    assert deaths == MOST_STARTS + 1


def test_a_program_that_is_not_there(tmp_path: Path):
    child = Child('x', ['/no/such/program'], tmp_path)
    assert 'No such file' in child.start()
    assert child.pid == 0 and child.wait(1.0)


def test_a_process_that_does_not_end_is_killed(tmp_path: Path):
    ignores = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); '
    ready = tmp_path / 'ready'
    child = Child(
        'x', ['python3', '-c', f'{ignores}open("{ready}", "w"); time.sleep(99)'], tmp_path
    )
    child.start()
    wait_for(ready.exists, 'the process')
    child.ask_to_end()
    assert not child.wait(0.5)


def test_an_event_that_the_disk_refuses_is_written_down_later(start):
    trial = start()
    wait_for(lambda: set(trial.children()) == set(NAMES), 'the processes')
    events = trial.folder.path / 'events.jsonl'
    aside = events.rename(trial.folder.path / 'aside')
    events.mkdir()
    pid = trial.children()['trial_watch']
    os.kill(pid, signal.SIGKILL)
    trial.wait_for_another('trial_watch', pid)
    events.rmdir()
    aside.rename(events)
    wait_for(lambda: PROCESS_BACK in trial.kinds(), 'the events')
    assert trial.kinds() == [STARTED, PROCESS_DIED, PROCESS_BACK]
    trial.stop()
    assert trial.stderr.count('cannot be written') == 1


def test_a_trial_that_was_left_running_is_told_to_the_next(start, tmp_path: Path):
    left = start()
    wait_for(lambda: set(left.children()) == set(NAMES), 'the processes')
    left.stop(signal.SIGKILL)
    following = Trial(tmp_path / 'next')
    wait_for(following.children, 'the next trial')
    following.stop()
    assert f'{left.folder.path} still runs as well; end it by: ' in following.stdout


def test_a_terminal_that_takes_nothing_stops_no_trial(tmp_path: Path):
    """As after Ctrl-S, or when the connection hangs."""
    unread, full = os.pipe()
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(full, bytes(2**16)):
            pass
    os.set_blocking(full, True)
    root = tmp_path / 'trials'
    command = [sys.executable, '-m', 'stand_in_trial', '--trial=x', f'--trials-folder={root}']
    told = {'stdout': full, 'stderr': full, 'env': environment(tmp_path / 'log')}
    with subprocess.Popen(command, **told) as trial:
        try:
            wait_for(lambda: root.is_dir() and trials_in(root), 'the trial')
            path = trials_in(root)[0].path
            wait_for(lambda: set(running(path)) == set(NAMES), 'the processes')
            before = running(path)['trial_watch']
            os.kill(before, signal.SIGKILL)
            wait_for(lambda: running(path).get('trial_watch', before) != before, 'the watch')
            trial.send_signal(signal.SIGINT)
            assert trial.wait(PATIENCE_S) == 0 and running(path) == {}
        finally:
            trial.kill()
            os.close(unread)
            os.close(full)
