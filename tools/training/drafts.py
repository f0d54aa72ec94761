# SPDX-License-Identifier: Apache-2.0
"""Drafts of large files that a killed run left: the next run in the folder clears them.

A run holds the lock of its folders, so that no other run takes its drafts for leftovers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path

# Names that `files.writing.whole_file` gives.
_DRAFT = re.compile(r'\..{1,40}\.[0-9a-f]{16}\.new(\.[^.]{1,11})?', re.DOTALL)


def clear_drafts(folder: Path) -> bool:
    """Lock a folder until this process ends, and remove the drafts in it.

    False, and nothing is removed, where another process has the lock. Nothing is removed either
    where the folder cannot be locked, as on a file system without locks.
    """
    try:
        handle = os.open(folder / '.lock', os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError:
        return True
    try:
        # A lock of the process, not of the handle: it may be taken again, and the processes that
        # load images do not keep it. It would end if any handle of the file were closed.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    for path in folder.iterdir():
        if _DRAFT.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.unlink()
    return True
