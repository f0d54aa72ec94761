# SPDX-License-Identifier: Apache-2.0
"""Journals of sqlite3: a killed recorder leaves the last part of a database in one beside it.

The formats: https://www.sqlite.org/walformat.html and https://www.sqlite.org/fileformat.html.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from pathlib import Path

from ashtkd_ros.bags.channels import Unreadable, first_names
from ashtkd_ros.bags.unpacking import copy_within
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.text import one_line, reason_of

WAL, ROLLBACK = '-wal', '-journal'
_WAL_MAGIC = (b'\x37\x7f\x06\x82', b'\x37\x7f\x06\x83')
_ROLLBACK_MAGIC = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'
_WAL_HEAD, _FRAME_HEAD = 32, 24


def side_files(file: Path) -> list[Path]:
    """The journals that hold a part of a sqlite3 file's data, beside it or where a link leads."""
    for base in dict.fromkeys((os.path.realpath(file), os.path.abspath(file))):
        journals = [Path(base + ending) for ending in (WAL, ROLLBACK)]
        if journals := [f for f in journals if f.is_file() and any(_first_bytes(f)[:8])]:
            return journals
    return []


def orphans(file: Path) -> list[Path]:
    """Journals beside a file whose own database is gone; it may have been renamed."""
    found: list[Path] = []
    for folder in dict.fromkeys((file.parent, Path(os.path.realpath(file)).parent)):
        with contextlib.suppress(OSError):
            for each in sorted(folder.iterdir()):
                base, dash, ending = each.name.rpartition('-')
                known = base.lower().endswith('.db3') and dash + ending in (WAL, ROLLBACK)
                if known and not os.path.lexists(folder / base) and _is_journal(each):
                    found.append(each)
    return found


def _is_journal(file: Path) -> bool:
    return file.is_file() and _first_bytes(file).startswith((*_WAL_MAGIC, _ROLLBACK_MAGIC))


def lacks_journal(file: Path) -> bool:
    """Whether the index of a write-ahead log is there without the log."""
    paths = dict.fromkeys((os.path.realpath(file), os.path.abspath(file)))
    return any(os.path.isfile(p + '-shm') and not os.path.lexists(p + WAL) for p in paths)


def may_belong(file: Path, orphan: Path) -> bool:
    """Whether a journal may belong to a file that is the only one in its folder."""
    with contextlib.suppress(OSError, struct.error):
        held = [p for p in orphan.parent.iterdir() if p.name.endswith('.db3')]
        others = {os.path.realpath(p) for p in held} - {os.path.realpath(file)}
        head, journal = _first_bytes(file), _first_bytes(orphan)
        page = struct.unpack_from('>H', head, 16)[0]
        is_wal = journal.startswith(_WAL_MAGIC)
        size = struct.unpack_from('>I', journal, 8 if is_wal else 24)[0]
        modes = (b'\2\2',) if is_wal else (b'\1\1', b'\2\2')
        return not others and size == (65536 if page == 1 else page) and head[18:20] in modes
    return False


def _first_bytes(file: Path) -> bytes:
    """The first bytes; empty for a file that is not regular or may not be read."""
    with contextlib.suppress(OSError), open(open_regular(file), 'rb') as opened:
        return opened.read(100)
    return b''


def note_of(lost: list[Path]) -> str:
    """A note on journals that belong to no database here."""
    names = first_names(p.name for p in lost)
    return (
        f'{names}: a journal of sqlite3 without its file lies there, which may hold messages that '
        'are missing; if the .db3 was renamed, rename its journal as well (FILE.db3-wal);'
    )


def recovered(file: Path, journals: list[Path], folder: Path) -> tuple[Path, list[str]]:
    """A copy in `folder` of a sqlite3 file, with what its journals hold, and notes on these.

    The user's files are not changed. VprError if the disk has no room for the copy.
    """
    advice = (
        f'{file}: {{}} has no room for a copy, which its journal ({journals[0].name}) needs; make '
        'room, set TMPDIR to a larger disk, or bring the journal into the bag itself: '
        'sqlite3 FILE "PRAGMA wal_checkpoint(TRUNCATE)"'
    )
    copy, notes = folder / file.name, []
    pairs = {copy: file} | {
        folder / (file.name + (WAL if j.name.endswith(WAL) else ROLLBACK)): j for j in journals
    }
    for target, each in pairs.items():
        with open(open_regular(each), 'rb') as source, target.open('xb') as made:
            copy_within(source, made, each.stat().st_size, advice)
    try:
        with contextlib.closing(sqlite3.connect(copy)) as base:
            base.execute('SELECT count(*) FROM sqlite_master').fetchone()
            valid = base.execute('PRAGMA wal_checkpoint(PASSIVE)').fetchone()[1]
            for target, each in pairs.items():
                if target.name.endswith(WAL) and target.is_file():  # an empty one has none
                    notes += _lacking(target, one_line(each.name), valid)
            base.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()
    except sqlite3.Error as error:
        raise Unreadable(
            f'{file}: is damaged or cut off ({reason_of(error)}); copy it again'
        ) from error
    return copy, notes


def _lacking(wal: Path, name: str, valid: int) -> list[str]:
    """A note on the part of a write-ahead log that sqlite3 ignores, after `valid` pages.

    Each piece (frame) has the salts of the log's start; those of before it was begun anew have
    others, and are of no matter.
    """
    damaged = f'has a journal ({name}) that is damaged at its start: messages are missing'
    with wal.open('rb') as file:
        start = file.read(_WAL_HEAD)
        if len(start) < _WAL_HEAD or not _is_sound(start):
            return [damaged]
        page = struct.unpack_from('>I', start, 8)[0]
        step, size = _FRAME_HEAD + page, wal.stat().st_size
        if not 512 <= page <= 65536:
            return [damaged]
        count, complete = 0, False
        for at in range(_WAL_HEAD, size, step):
            file.seek(at)
            head = file.read(_FRAME_HEAD)
            if head[8:16] == start[16:24]:
                count = (at - _WAL_HEAD) // step + 1
                complete = count > valid and any(head[4:8])
    if count <= valid:
        return []
    why = 'is damaged or cut off' if complete else 'ends before its last messages are complete'
    return [
        f'has a journal ({name}) that {why}: messages are missing, {valid} of {count} pages count'
    ]


def _is_sound(head: bytes) -> bool:
    """Whether the start of a write-ahead log matches its checksum."""
    order = '>' if head[:4] == _WAL_MAGIC[1] else '<'
    a = b = 0
    values = struct.unpack(order + '6I', head[:24])
    for one, two in zip(values[::2], values[1::2], strict=True):
        a = (a + one + b) % 2**32
        b = (b + two + a) % 2**32
    return head[:4] in _WAL_MAGIC and (a, b) == struct.unpack('>II', head[24:32])


def holds_all(file: Path, copy: Path) -> bool:
    """Whether a copy is sound and has the first and the last messages of its original."""
    rows = (
        'SELECT count(*) FROM messages',
        *(
            f'SELECT id, topic_id, timestamp, length(data) FROM messages ORDER BY id {way} LIMIT 1'
            for way in ('', 'DESC')
        ),
    )
    with contextlib.suppress(sqlite3.Error), _opened(copy) as base:
        if base.execute('PRAGMA quick_check(1)').fetchone() != ('ok',):
            return False
        (count,) = base.execute(rows[0]).fetchone()
        try:
            with _opened(file) as old:
                least, *ends = (old.execute(r).fetchone() for r in rows)
        except sqlite3.Error:  # the file cannot be read without its journal
            return True
        wanted = 'SELECT id, topic_id, timestamp, length(data) FROM messages WHERE id = ?'
        return count >= least[0] and all(
            end is None or base.execute(wanted, end[:1]).fetchone() == end for end in ends
        )
    return False


def _opened(file: Path) -> contextlib.closing[sqlite3.Connection]:
    uri = f'{file.absolute().as_uri()}?mode=ro&immutable=1'
    return contextlib.closing(sqlite3.connect(uri, uri=True))
