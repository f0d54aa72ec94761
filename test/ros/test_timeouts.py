# SPDX-License-Identifier: Apache-2.0
"""Work that may never return is waited for within its limit, and not when the node ends."""

from __future__ import annotations

import threading
import time

import pytest
from conftest import line_of

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.timeouts import DiskReader, LatestResult, Task


@pytest.fixture
def gate():
    """An event that what is slow waits for; set at the end."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_results_and_errors_come_through() -> None:
    reader = DiskReader(lambda: 5.0, lambda: True)
    assert reader.read('x', lambda: 7) == 7
    for error in (VprError('bad'), ValueError('v'), MemoryError()):
        with pytest.raises(type(error)):
            reader.read('x', lambda error=error: (_ for _ in ()).throw(error))
    with pytest.raises(RuntimeError, match='SystemExit'):
        reader.read('x', lambda: (_ for _ in ()).throw(SystemExit(3)))


def test_a_stalled_reading_costs_its_deadline_and_the_next_one_no_more(gate) -> None:
    reader = DiskReader(lambda: 1.5, lambda: True)
    started = time.monotonic()
    with pytest.raises(VprError, match=r'/a: could not be read within 1.5 s \(load_timeout_s\)'):
        reader.read('/a', gate.wait)
    with pytest.raises(VprError) as error:
        reader.read('/b', lambda: 1)
    assert line_of(error).startswith('/a: the disk has not answered for')
    assert time.monotonic() - started < 2.9
    gate.set()
    assert reader.read('/b', lambda: 1) == 1


def test_waiting_ends_when_the_node_ends(gate) -> None:
    alive = threading.Event()
    alive.set()
    reader, ended = DiskReader(lambda: 100.0, alive.is_set), []

    def read(name: str) -> None:
        with pytest.raises(VprError, match='told to end'):
            reader.read(name, gate.wait)
        ended.append(name)

    threads = [threading.Thread(target=read, args=(name,)) for name in ('a', 'b', 'c')]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    alive.clear()
    for thread in threads:
        thread.join(60.0)
    assert len(ended) == 3


def test_the_latest_result_is_given_without_waiting(gate) -> None:
    values = iter(range(10))
    quick = LatestResult('quick', lambda: next(values), -1)
    assert [quick.get() for _ in range(3)] == [0, 1, 2] and quick.waiting_s == 0.0
    slow, started = LatestResult('slow', gate.wait, 'before'), time.monotonic()
    assert [slow.get() for _ in range(3)] == ['before'] * 3
    assert time.monotonic() - started < 10.0 and slow.waiting_s > 0.0
    gate.set()
    while slow.get() is not True:
        assert time.monotonic() - started < 60.0
        time.sleep(0.01)


def test_a_task_is_over_once() -> None:
    task = Task('task', lambda: 3)
    assert task.wait(60.0, lambda: True) and task.over and task.result() == 3
