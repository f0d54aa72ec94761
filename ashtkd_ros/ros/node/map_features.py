# SPDX-License-Identifier: Apache-2.0
"""Local features and descriptors of a map, read from disk without blocking recognition."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.local_file import LocalFeatures, LocalFile
from ashtkd_ros.maps.row_file import RowFile
from ashtkd_ros.ros.threads import start_thread
from ashtkd_ros.ros.timeouts import Task

_TIMEOUT_S = 0.5


class PatientRows:
    """The same rows; VprError where a read is slow, or where an earlier one has not ended.

    One thread reads for all images: a new one for each would take 0.3 ms.
    """

    def __init__(self, source: LocalFile | RowFile):
        self._source = source
        self._task: Task[np.ndarray] | None = None
        self._reads: SimpleQueue = SimpleQueue()
        weakref.finalize(self, self._reads.put, None)
        start_thread('features', partial(_work, self._reads))

    def __len__(self) -> int:
        return len(self._source)

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """As of the file, but within 0.5 s."""
        if self._task is None or self._task.over:
            read = partial(self._source.rows, ids)
            self._task = task = Task('', read, lambda _, run: self._reads.put(run))
            if task.wait(_TIMEOUT_S, lambda: True):
                return task.result()
        raise VprError(f'{self._source.path}: the disk does not answer; check the disk')


class MapFeatures(PatientRows, LocalFeatures):
    """Local features that are read so."""

    def __init__(self, features: LocalFile):
        super().__init__(features)
        self.shape = features.shape

    def expect(self, ids: np.ndarray) -> None:
        """As of the file, in the thread that reads: this, too, may wait for a disk."""
        if self._task is None or self._task.over:
            self._reads.put(partial(self._source.expect, ids))


def _work(reads: SimpleQueue) -> None:
    """Call what comes, until None comes."""
    while (read := reads.get()) is not None:
        read()
