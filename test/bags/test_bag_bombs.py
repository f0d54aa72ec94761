# SPDX-License-Identifier: Apache-2.0
"""Small files that would take gigabytes or minutes are refused by a line, at once."""

from __future__ import annotations

import bz2
import sqlite3
import struct
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import lz4.frame
import pytest
from bag_helpers import storage_files, write_bag
from mcap_helpers import Row, channels_of, write_mcap
from test_bags import contents, records, refused

from ashtkd_ros.bags import channels as bag_channels
from ashtkd_ros.bags import mcap as bag_mcap
from ashtkd_ros.bags import sqlite as bag_sqlite
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.mcap import McapFile

pytest_plugins = ['bag_fixtures']


@pytest.fixture
def cheap() -> Iterator[None]:
    """Little time and memory are taken."""
    start = time.monotonic()
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e8 and time.monotonic() - start < 30


# --- sqlite3

_OTHER = 'ALTER TABLE messages RENAME TO others'
_FILL = 'INSERT INTO messages (id, topic_id, {}) SELECT id, topic_id, {} FROM others'
_HUGE = 'length(hex(hex(hex(zeroblob(60000000)))))'
COMPUTED = {
    'data': (
        'CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
        'data BLOB GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL)',
        _FILL.format('timestamp', 'timestamp'),
    ),
    'timestamp': (
        'CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, data BLOB, at INTEGER, '
        f'timestamp INTEGER GENERATED ALWAYS AS (at + 0 * {_HUGE}) VIRTUAL)',
        _FILL.format('data, at', 'data, timestamp'),
    ),
    'topic': (
        'CREATE TABLE messages (id INTEGER PRIMARY KEY, timestamp INTEGER, data BLOB, of INTEGER, '
        f'topic_id INTEGER AS (of + 0 * {_HUGE}) VIRTUAL)',
    ),
    'virtual': ('CREATE VIRTUAL TABLE messages USING fts5(id, topic_id, timestamp, data)',),
}


@pytest.mark.parametrize('case', COMPUTED)
@pytest.mark.usefixtures('cheap')
def test_what_sqlite_would_compute_is_no_bag(bag: Path, case: str):
    with closing(sqlite3.connect(storage_files(bag)[0])) as base, base:
        for statement in (_OTHER, *COMPUTED[case]):
            base.execute(statement)
    assert 'is not a bag' in refused(bag)


def test_a_message_that_is_too_long_is_not_fetched(
    bag: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = [isinstance(m[2], bytes) for m in contents(plain)]
    short = bag_sqlite._DATA.replace(str(bag_sqlite.UNPACKED_LIMIT), '1000')
    monkeypatch.setattr(bag_sqlite, '_DATA', short)
    found = [m for _, _, m in Bag(bag).messages(['/camera/image_raw', '/odom'], lenient=True)]
    assert [m is None for m in found] == expected


@pytest.mark.usefixtures('cheap')
def test_pages_that_stand_for_many_end(bag: Path):
    """Of a tree in which all ways lead through the same pages: 10^8 rows in 3 MB."""
    (file,) = storage_files(bag)
    insert = "INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 10000000000, x'')"
    with closing(sqlite3.connect(file)) as base, base:
        base.execute('DROP INDEX timestamp_idx')
        base.executemany(insert, [()] * 200_000)
        found = base.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'")
        (root,) = found.fetchone()
    data = file.read_bytes()
    pages = [bytearray(data[i : i + 4096]) for i in range(0, len(data), 4096)]
    inner = max(n for n, p in enumerate(pages) if p[0] == 5 and p[3:5] > b'\1\0' and n != root - 1)
    leaf = max(n for n, p in enumerate(pages) if p[0] == 13 and p[3:5] > b'\0\xc8')
    pages[root - 1] = pages[inner][:]
    for number, target in ((root - 1, inner), (inner, leaf)):
        page = pages[number]
        places = [8]
        for i in range(int.from_bytes(page[3:5], 'big')):
            places.append(int.from_bytes(page[12 + 2 * i : 14 + 2 * i], 'big'))
        for at in places:
            page[at : at + 4] = (target + 1).to_bytes(4, 'big')
    file.write_bytes(b''.join(pages))
    assert 'it has no end' in refused(bag)


# --- chunks of many messages


KIND = 'sensor_msgs/msg/Image'


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('chunk', [20_000, 3_000_000])
def test_a_small_mcap_of_countless_messages_is_refused(
    tmp_path: Path, index: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bag_channels, '_MOST_MESSAGES', 100_000)
    row = Row('/camera/image_raw', KIND, [(10**10, b'')] * 400_000)
    options = {'compression': 'zstd', 'chunk': chunk, 'index': index, 'message_index': False}
    path = write_mcap(tmp_path / 'a.mcap', [row], **options)
    assert path.stat().st_size < 30_000
    start = time.monotonic()
    assert 'more messages than its size allows' in refused(path)
    assert time.monotonic() - start < 3


def test_an_index_with_one_chunk_under_many_names_is_not_taken(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_mcap(tmp_path / 'a.mcap', channels_of(plain))
    sound = bag_mcap._indexed
    place = McapFile(path)._chunks[0].at
    monkeypatch.setattr(bag_mcap, '_indexed', lambda content: sound(content)._replace(at=place))
    assert contents(path) == contents(plain)


@pytest.mark.usefixtures('cheap')
@pytest.mark.parametrize('compression', ['bz2', 'lz4'])
def test_a_small_bag_of_ros1_of_countless_messages_is_refused(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bag_channels, '_MOST_MESSAGES', 20_000)
    path = tmp_path / 'a.bag'
    head = field(b'op', b'\2') + field(b'conn', bytes(4)) + field(b'time', bytes(8))
    message = struct.pack('<I', len(head)) + head + bytes(4)
    pack = {'bz2': bz2.compress, 'lz4': lz4.frame.compress}[compression]
    data = pack(message * 50_000)
    head = field(b'op', b'\5') + field(b'compression', compression.encode())
    head += field(b'size', struct.pack('<I', len(message) * 50_000))
    chunk = struct.pack('<I', len(head)) + head + struct.pack('<I', len(data)) + data
    whole = write_bag(tmp_path / 'b.bag', records=records()).read_bytes()
    at = whole.index(b'index_pos=') + len(b'index_pos=')
    path.write_bytes(whole[:at] + bytes(8) + whole[at + 8 : 4109] + chunk * 5)
    assert 'more messages than its size allows' in refused(path)


def field(name: bytes, value: bytes) -> bytes:
    return struct.pack('<I', len(name) + 1 + len(value)) + name + b'=' + value


def test_messages_of_a_chunk_take_little_memory():
    rows = bag_channels.ChunkMessages(0)
    tracemalloc.start()
    for _ in range(200_000):
        rows.add(10**18, 1, b'')
    assert sum(1 for _ in rows) == 200_000
    assert tracemalloc.get_traced_memory()[1] < 200_000 * 60
    tracemalloc.stop()
