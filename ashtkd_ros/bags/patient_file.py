# SPDX-License-Identifier: Apache-2.0
"""A file that is written while the disk takes it, and later where it does not."""

from __future__ import annotations

import errno
import os
from collections import deque
from pathlib import Path

_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of file systems that cannot


class PatientFile:
    """A new file. What the disk refuses waits in memory, in order, until it is taken.

    So whoever writes is never left between two states by a full disk: the file is whole as soon
    as there is room. `refused`: why bytes wait; None if none do. The constructor raises OSError,
    FileExistsError where something is at `path`.
    """

    def __init__(self, path: Path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._handle = os.open(path, flags, 0o666)
        self._waiting: deque[memoryview] = deque()
        self._length = 0
        self.refused: OSError | None = None

    def write(self, data: bytes) -> int:
        """Hand bytes to the kernel, or keep them; how many they are."""
        self._waiting.append(memoryview(data))
        self._length += len(data)
        if self.refused is None:
            self.flush()
        return len(data)

    def tell(self) -> int:
        """Bytes so far, also those that wait."""
        return self._length

    def flush(self) -> None:
        """Try again to hand over what waits; `refused` tells whether that worked."""
        self.refused = None
        while self._waiting:
            data = self._waiting[0]
            try:
                written = os.write(self._handle, data)
            except OSError as error:
                self.refused = error
                return
            if written < len(data):
                self._waiting[0] = data[written:]
            else:
                self._waiting.popleft()

    def keep(self) -> None:
        """Have the disk itself keep what it has taken, so that a power cut costs nothing of it.

        This takes as long as the disk needs, and may be called in another thread. OSError where
        the disk has failed, now or since the last call. A file system that cannot do it is let be.
        """
        handle = os.dup(self._handle)  # which nobody closes meanwhile
        try:
            os.fdatasync(handle)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(handle)

    def close(self) -> None:
        """Close it, whatever waits; OSError where only now an error comes to light."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
