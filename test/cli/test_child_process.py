# SPDX-License-Identifier: Apache-2.0
"""A process that is started for a while ends with the code that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.errors import VprError

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: None)
print('ready', flush=True)
while True:
    time.sleep(0.05)
"""


def python(code: str) -> list[str]:
    return [sys.executable, '-c', code]


def ready(child) -> None:
    while not child.lines():
        time.sleep(0.01)


@pytest.mark.parametrize(
    ('code', 'said'),
    [
        ('print("one"); print("error: no map")', 'it ended with status 3: no map'),
        ('print("[ERROR] [170.5] [a.b]: no map")', 'it ended with status 3: no map'),
        ('pass', 'it ended with status 3: it printed nothing'),
        ('import sys; sys.stdout.buffer.write(bytes([255]))', 'it ended with status 3: \ufffd'),
    ],
)
def test_the_last_line_is_the_reason(code: str, said: str) -> None:
    with child_process('it', python(f'{code}\nraise SystemExit(3)')) as child:
        child.process.wait()
        with pytest.raises(VprError) as error:
            child.check()
    assert str(error.value).startswith(said)


def test_a_running_process_is_no_error_and_ends_with_the_body() -> None:
    with child_process('it', python('import time; time.sleep(60)')) as child:
        child.check()
    assert child.has_ended


def test_a_process_that_will_not_end_is_killed() -> None:
    with child_process('it', python(STUBBORN), end_s=0.2) as child:
        ready(child)
    assert child.process.returncode == -signal.SIGKILL


def test_a_second_interrupt_leaves_no_process_behind() -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        child_process('it', python(STUBBORN), end_s=1.0) as child,
    ):
        ready(child)
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        raise KeyboardInterrupt
    assert child.has_ended


def test_output_that_is_shown_is_not_kept(capfd) -> None:
    code = 'import sys; print("shown"); print("kept", file=sys.stderr)'
    with child_process('it', python(code), shows_output=True) as child:
        child.process.wait()
        assert child.lines() == ['kept']
    assert capfd.readouterr().out == 'shown\n'


def test_what_is_printed_is_read_while_the_process_goes_on() -> None:
    code = 'import time\nfor i in range(40): print("line", i, flush=True); time.sleep(0.01)'
    with child_process('it', python(code)) as child:
        while not child.has_ended:
            child.lines()
        assert child.lines() == [f'line {i}' for i in range(40)]


def test_a_command_that_is_not_there_is_an_error_in_one_line() -> None:
    with child_process('it', ['no-such-command']) as child:
        child.process.wait()
        assert str(child.failure()).endswith('no-such-command: No such file or directory')


def test_a_child_has_the_signals_of_any_other_process() -> None:
    status = ['grep', '^Sig[BIC]', '/proc/self/status']  # blocked, ignored, caught
    with child_process('it', status) as child:
        child.process.wait()
        assert child.lines() == subprocess.check_output(status, text=True).splitlines()


PARENT = """
import sys, time
from ashtkd_ros.cli.child_process import child_process
code = sys.argv[1]
with child_process('it', [sys.executable, '-c', code, *sys.argv[1:]], shows_output=True):
    time.sleep(60)
"""
CHILD = """
import os, signal, sys, time
from pathlib import Path
def end(*_):
    Path('ended').touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print(os.getpid(), flush=True)
time.sleep(60)
Path('result').touch()
"""


def test_a_parent_that_is_killed_takes_its_child_along(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, '-c', PARENT, CHILD],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(root), *sys.path])},
        stdout=subprocess.PIPE,
    ) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == b''  # until the child has closed it as well
    end = time.monotonic() + 10.0
    while Path(f'/proc/{child}').exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert [path.name for path in tmp_path.iterdir()] == ['ended']


def test_a_child_of_a_parent_that_is_gone_does_not_start(monkeypatch) -> None:
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    with child_process('it', python('print("started")')) as child:
        child.process.wait()
        assert child.lines() == ['the process that started this has ended']
