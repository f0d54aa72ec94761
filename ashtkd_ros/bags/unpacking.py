# SPDX-License-Identifier: Apache-2.0
"""Unpacking: pieces up to a limit of size, whole files into a folder that is removed later."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lz4.frame import LZ4FrameDecompressor

from ashtkd_ros.bags.channels import Unreadable
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.text import one_line

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD = b'\x28\xb5\x2f\xfd'
# Bytes of a message or chunk: the largest image allowed has 2^26 pixels of up to 8 bytes.
UNPACKED_LIMIT = 2**29
_ROOM_LEFT = 2**28  # bytes of the disk that stay free
_PREFIX = 'ashtkd_ros_bag_'
_BLOCK = 2**22


@contextlib.contextmanager
def unpacking_folder() -> Iterator[Path]:
    """A folder for unpacked files, which is removed afterwards, whatever happens.

    Files that are still open keep their data. A folder that a killed process left, whose lock
    nobody holds, is removed by the next process.
    """
    place = tempfile.gettempdir()
    for old in Path(place).glob(f'{_PREFIX}*'):
        with contextlib.suppress(OSError), locked(old):
            shutil.rmtree(old, ignore_errors=True)
    own = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with locked(own):
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Take the lock of a folder; OSError if another process has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def unpack(data: bytes, kind: str = 'zstd', limit: int = UNPACKED_LIMIT) -> bytes:
    """Unpack zstd or lz4 data; ValueError if they are damaged, cut or more than `limit` bytes."""
    if kind == 'zstd':
        reader, errors = zstd.ZstdDecompressor(), (zstd.ZstdError, EOFError)
    elif kind == 'lz4':
        reader, errors = LZ4FrameDecompressor(), (RuntimeError, EOFError)
    else:
        raise ValueError(f'its compression "{one_line(kind)}" is not known')
    try:
        said = zstd.get_frame_info(data).decompressed_size if kind == 'zstd' else None
        if said is not None and said > limit:
            raise ValueError(f'it unpacks to {said} bytes, of which {limit} are allowed')
        read = _pieces if kind == 'lz4' else type(reader).decompress
        found = read(reader, data, limit + 1)
    except errors as error:
        raise ValueError(f'its {kind} data are damaged ({one_line(str(error))})') from error
    if len(found) > limit:
        raise ValueError(f'it unpacks to more than {limit} bytes')
    if not reader.eof:
        raise ValueError(f'its {kind} data are cut off')
    return found


def _pieces(reader: Any, data: bytes, most: int) -> bytes:
    """Unpack up to so many bytes; lz4 reserves memory for all that it may give."""
    pieces = [reader.decompress(data, max_length=min(_BLOCK, most))]
    held = len(pieces[0])
    while held < most and not reader.eof:
        pieces.append(reader.decompress(b'', max_length=min(_BLOCK, most - held)))
        if not pieces[-1]:
            break
        held += len(pieces[-1])
    return b''.join(pieces)


def unpacked_file(file: Path, folder: Path) -> Path:
    """Unpack a zstd file into `folder`; VprError if it is damaged, or would fill the disk."""
    advice = (
        f'{file}: {{}} has no room to unpack it (compressed in mode "file"); '
        'make room, or set TMPDIR to a larger disk'
    )
    made = folder / file.name.removesuffix('.zstd')
    try:
        with open(open_regular(file), 'rb') as packed, made.open('xb') as plain:
            copy_within(zstd.open(packed, 'rb'), plain, file.stat().st_size, advice)
    except EOFError as error:
        raise Unreadable(
            f'{file}: is cut off ({error}); copy it again, or record it again'
        ) from error
    except zstd.ZstdError as error:
        raise Unreadable(f'{file}: is damaged ({error}); copy it again') from error
    return made


def copy_within(source: BinaryIO, target: BinaryIO, least: int, advice: str) -> None:
    """Copy all bytes, at least `least`; VprError if the disk has no room for them."""
    try:
        needed = least
        while shutil.disk_usage(target.name).free >= _ROOM_LEFT + needed:
            block = source.read(_BLOCK)
            if not block:
                target.flush()
                return
            target.write(block)
            needed = max(needed - len(block), _BLOCK)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise VprError(advice.format(tempfile.gettempdir())) from error
