# SPDX-License-Identifier: Apache-2.0
"""Local features of a map, read within a time limit."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.local_features import LocalShape
from ashtkd_ros.ros.node.map_features import MapFeatures

SHAPE = LocalShape((1, 2), 3)


class Disk(SimpleNamespace):
    """Features of four places; a read waits for `ready`, and raises `error` if there is one."""

    def __init__(self):
        super().__init__(path='/map/local.npy', shape=SHAPE, error=None, ready=threading.Event())
        self.ready.set()
        self.asked: list[tuple[str, list[int]]] = []

    def __len__(self) -> int:
        return 4

    def rows(self, ids) -> np.ndarray:
        self.ready.wait()
        if self.error:
            raise self.error
        return np.array(ids, np.int8)[:, None, None] * np.ones((1, 2, 3), np.int8)

    def expect(self, ids) -> None:
        self.asked.append((threading.current_thread().name, ids.tolist()))


def threads() -> int:
    return sum(thread.name == 'features' for thread in threading.enumerate())


def test_they_are_those_of_the_file() -> None:
    features = MapFeatures(Disk())
    assert (len(features), features.grid, features.channels) == (4, (1, 2), 3)
    for ids in ([3, 1], [2]):
        assert features.rows(ids)[:, 0, 0].tolist() == ids


def test_errors_of_the_file_come_through_and_the_next_read_works() -> None:
    disk = Disk()
    features, disk.error = MapFeatures(disk), VprError('it has been changed')
    with pytest.raises(VprError, match='it has been changed'):
        features.rows([0])
    disk.error = None
    assert features.rows([1])[0, 0, 0] == 1


def test_a_read_that_does_not_return_is_waited_for_once() -> None:
    disk = Disk()
    features = MapFeatures(disk)
    disk.ready.clear()
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(VprError) as error:
            features.rows([0])
    assert 0.4 < time.monotonic() - started < 5.0  # twenty times as long if each waited
    assert line_of(error) == '/map/local.npy: the disk does not answer; check the disk'
    disk.ready.set()
    found = None
    while found is None:
        assert time.monotonic() - started < 60.0
        with contextlib.suppress(VprError):  # the thread is not done yet
            found = features.rows([2])[0, 0, 0]
    assert found == 2


def test_the_disk_is_asked_for_the_next_ones_where_it_is_read() -> None:
    disk = Disk()
    features = MapFeatures(disk)
    assert [part[:, 0, 0].tolist() for part in features.parts([3, 1, 0], 2)] == [[3, 1], [0]]
    features.rows([0])  # all that was asked before has been
    assert disk.asked[:2] == [('features', [3, 1]), ('features', [0])]
    disk.asked.clear()
    disk.ready.clear()
    for _ in range(5):
        with pytest.raises(VprError):
            next(features.parts([2], 2))
    disk.ready.set()
    started = time.monotonic()
    while not disk.asked or not features._reads.empty():
        assert time.monotonic() - started < 60.0
        time.sleep(0.01)
    assert disk.asked == [('features', [2])]  # the others would only have waited


def test_the_reading_thread_ends_with_the_map() -> None:
    gc.collect()  # what the tests before have left
    time.sleep(0.5)  # whose threads end now
    before = threads()
    many = [MapFeatures(Disk()) for _ in range(5)]
    assert many[0].rows([1]).shape == (1, 2, 3) and threads() == before + 5
    many.clear()
    end = time.monotonic() + 60
    while threads() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threads() == before
