# SPDX-License-Identifier: Apache-2.0
"""The sqlite3 files of rosbag2: their channels and messages, never changed by reading."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from ashtkd_ros.bag_channels import Channel, Item, Unreadable, type_name
from ashtkd_ros.files import reason_of

MAGIC = b'SQLite format 3\x00'
RECOVER = '"sqlite3 FILE .recover" saves what there is'
_LIMITS = -(2**63), 2**63 - 1


class SqliteFile:
    """An open .db3 file.

    `channels` by number; `start` and `end`: of the receive times in ns, `end` after the last one.
    `name`: what errors call the file. Raises Unreadable for one that is damaged or no bag.
    """

    def __init__(self, path: Path, name: Path | None = None):
        self.name, self.notes = name or path, []
        check_whole(path, self.name)
        with self._readable():
            # Path.as_uri quotes what a URI would take for its own: ? # %
            self._base = sqlite3.connect(
                f'{path.absolute().as_uri()}?mode=ro&immutable=1',
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
        try:
            with self._readable():
                self._read_channels()
        except BaseException:
            self.close()
            raise

    def _read_channels(self) -> None:
        base = self._base
        base.text_factory = lambda data: data.decode('utf-8', 'backslashreplace')
        base.execute('PRAGMA trusted_schema = OFF')
        # Views, which may never end, are no tables.
        found = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {row[0] for row in found}
        if not {'messages', 'topics'} <= tables:
            raise Unreadable(
                f'{self.name}: is no bag: it lacks the tables "messages" and "topics" '
                '(was nothing recorded?)'
            )
        found = base.execute(
            'SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages '
            "WHERE typeof(timestamp) = 'integer' GROUP BY topic_id"
        ).fetchall()
        counts = {row[0]: row[1] for row in found}
        self.start = min((row[2] for row in found), default=0)
        self.end = max((row[3] for row in found), default=-1) + 1
        rows = base.execute('SELECT id, name, type, serialization_format FROM topics ORDER BY id')
        self.channels = {
            number: Channel(str(topic), type_name(str(kind)), str(form), counts.pop(number, 0))
            for number, topic, kind, form in rows
        }
        if counts:
            self.notes.append(f'{sum(counts.values())} messages of no topic are passed over')

    def messages(
        self, numbers: Collection[int], start: int | None = None, stop: int | None = None
    ) -> Iterator[Item]:
        """(channel, receive time in ns, data) in order of time, from `start` to before `stop`."""
        marks = ','.join('?' * len(numbers))
        low = _LIMITS[0] if start is None else start
        high = _LIMITS[1] if stop is None else stop - 1
        with self._readable():
            rows = self._base.execute(
                f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) '
                "AND timestamp BETWEEN ? AND ? AND typeof(timestamp) = 'integer' "
                'ORDER BY timestamp, rowid',
                (*numbers, low, high),
            )
        while True:
            with self._readable():
                row = rows.fetchone()
            if row is None:
                return
            number, received, data = row
            yield number, received, data if isinstance(data, bytes) else b''

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # texts of damaged bytes, both
            reason = reason_of(error)
            if 'no such column' in reason:
                why = f'is no bag of a known kind ({reason})'
            elif 'not a database' in reason:
                why = 'is no file of sqlite3, or damaged at its start; copy it again'
            elif isinstance(error, sqlite3.OperationalError):  # of the disk, not of the file
                why = f'cannot be read ({reason})'
            else:
                why = f'is damaged or cut off ({reason}); {RECOVER}'
            raise Unreadable(f'{self.name}: {why}') from error


def check_whole(file: Path, name: Path) -> None:
    """Unreadable for a file shorter than its own count of pages: what lacks reads as 0."""
    with file.open('rb') as opened:
        head = opened.read(100)
    size = file.stat().st_size
    if len(head) == 100 and head.startswith(MAGIC):
        page = int.from_bytes(head[16:18], 'big')
        pages = int.from_bytes(head[28:32], 'big')
        needed = (65536 if page == 1 else page) * pages
        counted = head[24:28] == head[92:96]  # old writers leave the count as it was
        if counted and size < needed:
            raise Unreadable(f'{name}: is cut off ({size} bytes of {needed}); {RECOVER}')
