# SPDX-License-Identifier: Apache-2.0
"""The sqlite3 files of rosbag2: their channels and messages, never changed by reading."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ashtkd_ros.bags.channels import Channel, Item, Unreadable, type_name
from ashtkd_ros.bags.unpacking import UNPACKED_LIMIT
from ashtkd_ros.text import reason_of

MAGIC = b'SQLite format 3\x00'
RECOVER = '"sqlite3 FILE .recover" saves what there is'
_LIMITS = -(2**63), 2**63 - 1
# Limit of sqlite3's instructions for a query; a row takes about 30 and has at least 10 bytes.
_STEPS, _STEPS_PER_BYTE, _STEP_BLOCK = 10_000_000, 20, 200_000
_GAP = 10_000  # rows, counted from 1, that a damaged part of a table may have
_LAST, _ROW_HEAD = 1000, 100  # rows whose data may lie behind a cut; bytes beside the data
_COMPUTED = 2, 3  # how "PRAGMA table_xinfo" marks generated columns
# The length of a text is not known before it is read.
_DATA = f"CASE WHEN typeof(data) = 'blob' AND length(data) <= {UNPACKED_LIMIT} THEN data END"


class SqliteFile:
    """An open .db3 file.

    `channels` by number; `start` and `end`: of the receive times in ns, `end` after the last one.
    `name`: what errors call the file; `lost`: always empty, since each message is known. Of a
    file that was cut off, what comes before the cut is read.
    Raises Unreadable for a file that is damaged or not a bag.
    """

    lost = ''

    def __init__(self, path: Path, name: Path | None = None):
        self.name, self.notes = name or path, []
        self._is_cut = _is_cut(path)
        self._torn: set[int] = set()  # rows whose data end behind the cut
        with self._readable():
            # Path.as_uri quotes the characters that mean something in a URI: ? # %
            self._base = sqlite3.connect(
                f'{path.absolute().as_uri()}?mode=ro&immutable=1',
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
        self._size, self._left = path.stat().st_size, 0
        self._rescued: list[tuple[int, int, int]] = []  # of a damaged table: time, row, topic
        try:
            with self._readable():
                self._set_limits()
                self._read_channels()
        except BaseException:
            self.close()
            raise

    def _set_limits(self) -> None:
        """Limit time and memory to what a file of this size may need, lest it is hostile."""
        base = self._base
        base.text_factory = lambda data: data.decode('utf-8', 'backslashreplace')
        if hasattr(base, 'setlimit'):  # from Python 3.11 on
            base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, UNPACKED_LIMIT + 2**16)
        base.set_progress_handler(self._is_too_long, _STEP_BLOCK)
        self._execute('PRAGMA trusted_schema = OFF')
        if self._is_cut:  # otherwise sqlite3 reads nothing of it
            self._execute('PRAGMA writable_schema = ON')

    def _is_too_long(self) -> bool:
        self._left -= _STEP_BLOCK
        return self._left < 0

    def _execute(self, query: str, values: Sequence[int] = ()) -> sqlite3.Cursor:
        self._left = _STEPS + _STEPS_PER_BYTE * self._size
        return self._base.execute(query, values)

    def _check_tables(self) -> None:
        """Unreadable unless messages and topics are plain tables, whose size is known.

        Views and virtual tables have no root page.
        """
        names = self._execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage")
        if not {'messages', 'topics'} <= {row[0] for row in names}:
            raise Unreadable(
                f'{self.name}: is not a bag: it lacks the tables "messages" and "topics" '
                '(was nothing recorded?); name another'
            )
        for table in ('messages', 'topics'):
            if any(row[6] in _COMPUTED for row in self._execute(f'PRAGMA table_xinfo({table})')):
                raise Unreadable(
                    f'{self.name}: is not a bag: its table "{table}" is computed; name another'
                )

    def _read_channels(self) -> None:
        self._check_tables()
        try:
            if self._is_cut:
                raise sqlite3.DatabaseError('it is shorter than it states')
            found = self._execute(
                'SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages '
                "WHERE typeof(timestamp) = 'integer' GROUP BY topic_id"
            ).fetchall()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError or not (found := self._salvaged()):
                raise
            self._find_torn()
        counts = {row[0]: row[1] for row in found}
        self.start = min((row[2] for row in found), default=0)
        self.end = max((row[3] for row in found), default=-1) + 1
        rows = self._execute('SELECT id, name, type, serialization_format FROM topics ORDER BY id')
        self.channels = {
            number: Channel(str(topic), type_name(str(kind)), str(form), counts.pop(number, 0))
            for number, topic, kind, form in rows
        }
        if counts:
            self.notes.append(f'{sum(counts.values())} messages without a topic are skipped')

    def _salvaged(self) -> list[tuple[int, int, int, int]]:
        """Read a damaged table row by row: topic, count, first and last time of what is left."""
        number, last, spans = 0, 0, {}
        while number - last < _GAP:
            number += 1
            with contextlib.suppress(sqlite3.Error):
                row = self._execute(
                    'SELECT topic_id, timestamp FROM messages WHERE rowid = ? '
                    "AND typeof(timestamp) = 'integer'",
                    (number,),
                ).fetchone()
                if row is not None:
                    self._rescued.append((row[1], number, row[0]))
                    count, least, most = spans.get(row[0], (0, row[1], row[1]))
                    spans[row[0]] = count + 1, min(least, row[1]), max(most, row[1])
                    last = number
        self._rescued.sort()
        missing = last - len(self._rescued)
        what = f'is damaged: of {last} messages {missing} are missing, and perhaps some at its end'
        if self._is_cut:
            what = f'is cut off: {len(self._rescued)} messages are read'
        self.notes.append(f'{what}; {RECOVER}')
        return [(topic, *span) for topic, span in spans.items()]

    def _find_torn(self) -> None:
        """Find the messages of a file that was cut whose end may lie behind the cut.

        sqlite3 reads zeros there. Pages are added in their order, so these are the last messages
        on pages of their own, and those that share the last page.
        """
        (page,) = self._execute('PRAGMA page_size').fetchone()
        rows = sorted((row for _, row, _ in self._rescued), reverse=True)
        shared, own_is_whole = 0, False
        for row in rows[:_LAST] if self._is_cut else ():
            data = self._data_of(row)
            has_own = len(data) + _ROW_HEAD > page
            shared += page // 8 if has_own else len(data) + _ROW_HEAD
            if data and not data[-1] and not (own_is_whole if has_own else shared > 2 * page):
                self._torn.add(row)
            # The first of several pages is there, and with it all that was written before.
            own_is_whole |= has_own and (bool(data[-1]) or len(data) > 2 * page)
            if own_is_whole and shared > 2 * page:
                return

    def messages(
        self,
        numbers: Collection[int],
        start: int | None = None,
        stop: int | None = None,
        lenient: bool = False,
    ) -> Iterator[Item]:
        """(channel, receive time in ns, data) in order of time, from `start` to before `stop`.

        `lenient`: a message whose pages are damaged has no data.
        """
        low = _LIMITS[0] if start is None else start
        high = _LIMITS[1] if stop is None else stop - 1
        for received, row, number in self._rescued:
            if number in numbers and low <= received <= high:
                yield number, received, self._data_of(row)
        if self._rescued:
            return
        reached: tuple[int, int] | None = None
        try:
            if not self._sorts(numbers, low, high):
                for number, received, row, data in self._rows(_DATA, numbers, low, high):
                    reached = received, row
                    yield number, received, data if isinstance(data, bytes) else b''
                return
        except Unreadable:
            if not lenient:
                raise
        # One by one: in a query without an index they would all be sorted on the disk of TMPDIR.
        low = low if reached is None else reached[0]
        for number, received, row, _ in self._rows('NULL', numbers, low, high):
            if reached is None or (received, row) > reached:
                yield number, received, self._data_of(row)

    def _sorts(self, numbers: Collection[int], low: int, high: int) -> bool:
        """Whether sqlite3 reads all messages before it gives the first, to put them in order."""
        query = f'EXPLAIN QUERY PLAN {_query(_DATA, len(numbers))}'
        with self._readable():
            return any(
                'TEMP B-TREE' in row[3] for row in self._execute(query, (*numbers, low, high))
            )

    def _rows(
        self, what: str, numbers: Collection[int], low: int, high: int
    ) -> Iterator[tuple[int, int, int, bytes | None]]:
        """(channel, receive time, number of the row, `what`) in order of time."""
        with self._readable():
            rows = self._execute(_query(what, len(numbers)), (*numbers, low, high))
        while True:
            with self._readable():
                row = rows.fetchone()
            if row is None:
                return
            yield row

    def _data_of(self, row: int) -> bytes:
        """The bytes of a message; empty if they are damaged."""
        if row in self._torn:
            return b''
        with contextlib.suppress(sqlite3.Error):
            (data,) = self._execute(
                f'SELECT {_DATA} FROM messages WHERE rowid = ?', (row,)
            ).fetchone()
            return data if isinstance(data, bytes) else b''
        return b''

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # damaged bytes raise either
            reason = reason_of(error)
            if 'no such column' in reason:
                why = f'is not a bag of a known kind ({reason}); convert it'
            elif 'not a database' in reason:
                why = 'is not a sqlite3 file, or damaged at its start; copy it again'
            elif 'interrupted' in reason:
                why = f'is damaged (it has no end); {RECOVER}'
            elif isinstance(error, sqlite3.OperationalError):  # the disk fails, not the file
                why = f'cannot be read ({reason}); check the disk'
            else:
                why = f'is damaged or cut off ({reason}); {RECOVER}'
            raise Unreadable(f'{self.name}: {why}') from error


def _query(what: str, topics: int) -> str:
    """The query for messages on so many topics between two times, in order of time."""
    return (
        f'SELECT topic_id, timestamp, rowid, {what} FROM messages '
        f'WHERE topic_id IN ({",".join("?" * topics)}) AND timestamp BETWEEN ? AND ? '
        "AND typeof(timestamp) = 'integer' ORDER BY timestamp, rowid"
    )


def _is_cut(file: Path) -> bool:
    """Whether a file is shorter than its count of pages."""
    with file.open('rb') as opened:
        head = opened.read(100)
    page = int.from_bytes(head[16:18], 'big')
    needed = (65536 if page == 1 else page) * int.from_bytes(head[28:32], 'big')
    counted = head[24:28] == head[92:96]  # old writers do not update the count
    is_base = len(head) == 100 and head.startswith(MAGIC)
    return is_base and counted and file.stat().st_size < needed
