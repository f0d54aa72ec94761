# SPDX-License-Identifier: Apache-2.0
"""A process that is started for a while ends with the code that started it."""

from __future__ import annotations

import signal
import sys
import threading
import time

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
