# SPDX-License-Identifier: Apache-2.0
"""Numbers kept on disk, a row a fixed view, of which only the rows asked for are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file
from tools.training.numpy_file import mapped_array

_DAMAGED = '{}: is damaged; remove it; it will be made again'


class Rows:
    """The rows of some files one after another: float16 (N, ...), read when they are asked for.

    VprError where a file is damaged or the files do not belong together.
    """

    def __init__(self, files: Sequence[Path]):
        self._files, self._arrays = files, [_open(file) for file in files]
        for file, array in zip(files, self._arrays, strict=True):
            if array.shape[1:] != self._arrays[0].shape[1:]:
                raise VprError(
                    f'{file}: has rows of another size than {files[0]}; remove the folder '
                    f'{file.parent}; it will be made again'
                )
        self._starts = np.cumsum([0, *map(len, self._arrays)])
        self.shape = (len(self), *self._arrays[0].shape[1:])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: int | Sequence[int] | range) -> np.ndarray:
        """A copy of one row, or of several in their order; VprError where one is not finite."""
        if isinstance(rows, (int, np.integer)):
            return self[[rows]][0]
        rows = np.asarray(rows, np.int64)
        found = np.empty((len(rows), *self.shape[1:]), self._arrays[0].dtype)
        shards = np.searchsorted(self._starts, rows, side='right') - 1
        for shard in np.unique(shards):
            here = shards == shard
            some = self._arrays[shard][rows[here] - self._starts[shard]]
            if not np.isfinite(some).all():
                raise VprError(_DAMAGED.format(self._files[shard]))
            found[here] = some
        return found


def save_rows(file: Path, rows: np.ndarray) -> None:
    """Write rows to a .npy, whole or not at all."""
    with whole_file(file, follow_links=False) as draft, draft.open('wb') as handle:
        np.save(handle, rows)


def _open(file: Path) -> np.ndarray:
    try:
        return mapped_array(file)
    except (OSError, ValueError) as error:
        raise VprError(_DAMAGED.format(file)) from error
