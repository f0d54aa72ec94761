# SPDX-License-Identifier: Apache-2.0
"""MCAP files of every writer are read the same; what cannot be read is named."""

from __future__ import annotations

import random
import shutil
from operator import itemgetter
from pathlib import Path

import pytest
from bag_helpers import storage_files, write_bag
from conftest import line_of
from mcap_helpers import Row, channels_of, write_mcap
from test_bags import TOPIC, contents, records

from ashtkd_ros.bags import mcap as bag_mcap
from ashtkd_ros.bags import unpacking as bag_scratch
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('mcap') / 'source', records=records())


@pytest.fixture(scope='module')
def rows(source: Path) -> list[Row]:
    return channels_of(source)


def raw(path: Path) -> list[tuple[str, int, bytes]]:
    """As `contents`, without parsing."""
    bag = Bag(path)
    found = [(c.topic, received, data) for c, received, data in bag._raw([TOPIC, '/odom'])]
    bag.close()
    return found


def notes(path: Path) -> list[str]:
    bag = Bag(path)
    bag.close()
    return bag.notes


def refusal(path: Path) -> str:
    with pytest.raises(VprError) as error:
        contents(path)
    assert str(path) in line_of(error)
    return str(error.value)


WAYS = {
    'all there is': {},
    'without index of messages': {'message_index': False},
    'without summary': {'index': False},
    'without statistics': {'statistics': False},
    'channels not repeated': {'repeated': False},
    'schemas not repeated': {'schemas': False},
    'no checksum of the summary': {'summary_crc': False},
    'no chunks': {'chunk': None},
    'no chunks, no summary': {'chunk': None, 'index': False},
    'one message a chunk': {'chunk': 1},
    'empty profile': {'profile': ''},
    'profile of ROS 1': {'profile': 'ros1'},
    'private records': {'first': b'\x80\x03\0\0\0\0\0\0\0abc'},
}


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
@pytest.mark.parametrize('way', WAYS)
def test_every_way_to_write_is_read(
    source: Path, rows: list[Row], tmp_path: Path, way: str, compression: str
):
    path = write_mcap(tmp_path / 'a.mcap', rows, compression=compression, **WAYS[way])
    assert contents(path) == contents(source) and notes(path) == []
    bag = Bag(path)
    assert [str(t) for t in bag.topics.values()] == [str(t) for t in Bag(source).topics.values()]
    assert (bag.start_s, bag.end_s) == (Bag(source).start_s, Bag(source).end_s)


def test_200_files_of_any_make_and_order_are_read(source: Path, rows: list[Row], tmp_path: Path):
    by_time = itemgetter(1, 0)  # of those received at one time the order is any
    expected, count = sorted(raw(source), key=by_time), sum(len(r.messages) for r in rows)
    times = sorted(t for r in rows for t, _ in r.messages)
    for seed in range(200):
        chance = random.Random(seed)
        order = list(range(count))
        if chance.random() < 0.8:
            chance.shuffle(order)
        options = {
            k: chance.random() < 0.5
            for k in ('index', 'message_index', 'statistics', 'summary_crc', 'repeated', 'schemas')
        }
        options |= {'chunk': chance.choice([None, 1, 2, 3, 5, 100]), 'order': order}
        options['compression'] = chance.choice(['', 'zstd', 'lz4'])
        path = write_mcap(tmp_path / 'a.mcap', rows, **options)
        assert sorted(raw(path), key=by_time) == expected, seed
        low, high = sorted(chance.sample(times, 2))
        found = [r for _, r, _ in Bag(path)._raw([TOPIC], low, high)]
        assert found == [r for t, r, _ in expected if t == TOPIC and low <= r < high], seed


def test_a_sound_index_spares_the_reading_of_all(
    source: Path, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_mcap(tmp_path / 'a.mcap', rows)
    monkeypatch.setattr(bag_mcap.McapFile, '_scan', None)
    assert contents(path) == contents(source)


@pytest.mark.parametrize('qos', ['', 'nonsense: [', '- {history: 99, depth: x}', '- 7'])
def test_qos_is_of_no_matter(source: Path, rows: list[Row], tmp_path: Path, qos: str):
    odd = [Row(r.topic, r.kind, r.messages, qos=qos) for r in rows]
    assert contents(write_mcap(tmp_path / 'a.mcap', odd)) == contents(source)


@pytest.mark.parametrize('encoding', ['json', 'protobuf', 'flatbuffer', '', 'a\x1b[2J\nb'])
@pytest.mark.parametrize('index', [True, False])
def test_channels_of_other_encodings_are_named_and_the_others_read(
    source: Path, rows: list[Row], tmp_path: Path, encoding: str, index: bool
):
    other = Row('/other', 'foxglove.CompressedImage', [(10**10, b'{}')], encoding, 'jsonschema')
    path = write_mcap(tmp_path / 'a.mcap', [other, *rows], index=index)
    assert contents(path) == contents(source)
    (note,) = notes(path)
    assert '/other' in note and 'skipped' in note and note.isprintable()
    alone = Bag(write_mcap(tmp_path / 'b.mcap', [other], index=index))
    assert alone.notes == [note] and list(alone.messages(['/other'])) == []


def test_messages_of_ros1_in_mcap_are_read(source: Path, tmp_path: Path):
    old = channels_of(write_bag(tmp_path / 'b.bag', records=records()))
    assert {r.encoding for r in old} == {'ros1'}
    for row in old:  # as "mcap convert" names types
        row.kind = row.kind.replace('/msg/', '/')
    path = write_mcap(tmp_path / 'a.mcap', old, profile='ros1')
    assert contents(path) == contents(source)
    found, expected = (list(Bag(p).serialized([TOPIC, '/odom'])) for p in (path, source))
    assert found == expected


# --- cut and damaged


@pytest.mark.parametrize('compression', ['', 'zstd'])
@pytest.mark.parametrize('chunk', [None, 1, 4])
def test_80_cut_files_are_read_as_far_as_they_go(
    source: Path, rows: list[Row], tmp_path: Path, chunk: int | None, compression: str
):
    expected = raw(source)
    path = write_mcap(tmp_path / 'a.mcap', rows, chunk=chunk, compression=compression)
    whole, seen = path.read_bytes(), set()
    places = random.Random(4).sample(range(1, len(whole)), 80)
    for at in [*places, len(whole) - 1]:
        path.write_bytes(whole[:at] + b'\0' * (at % 3 * 1000))  # as some file systems leave it
        try:
            found = raw(path)
        except VprError as error:
            assert 'cut off' in str(error) or 'no MCAP' in str(error), at
            continue
        assert found == expected[: len(found)]
        assert any('was cut off' in n and 'mcap recover' in n for n in notes(path)), at
        seen.add(len(found))
    assert len(seen) > 4 and len(expected) in seen


def test_a_cut_bag_in_its_folder_is_read(source: Path, tmp_path: Path):
    bag = write_bag(tmp_path / 'b', records=records(0, 40), storage='mcap')
    with storage_files(bag)[0].open('r+b') as file:
        file.truncate(storage_files(bag)[0].stat().st_size * 7 // 10)
    found = contents(bag)
    assert 60 < len(found) < 120 and found[:18] == contents(source)[:18]
    told = ' '.join(notes(bag))
    assert 'was cut off' in told and '40 messages by metadata.yaml' in told


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_300_changed_bytes_are_named_or_of_no_effect(
    source: Path, rows: list[Row], tmp_path: Path, compression: str
):
    """Of a file with checksums: no message comes out other than it went in."""
    expected = raw(source)
    path = write_mcap(tmp_path / 'a.mcap', rows, compression=compression)
    whole, chance, refused = path.read_bytes(), random.Random(5), 0
    for _ in range(100):
        spoiled = bytearray(whole)
        spoiled[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(spoiled)
        try:
            found = raw(path)
        except VprError as error:
            refused += 'is damaged' in str(error)
            continue
        assert set(found) <= set(expected)
        assert found == expected or notes(path)
    assert refused > 20


@pytest.mark.parametrize('kind', [2, 15])
def test_a_damaged_record_that_looks_like_an_end_is_none(
    rows: list[Row], tmp_path: Path, kind: int
):
    path = write_mcap(tmp_path / 'a.mcap', rows, chunk=None, index=False)
    data, whole = bytearray(path.read_bytes()), len(raw(path))
    middle = range(len(data) // 2, 0, -1)
    start = next(i for i in middle if data[i] == 5 and data[i + 3 : i + 9] == bytes(6))
    data[start] = kind
    path.write_bytes(data)
    assert len(raw(path)) == whole - 1 or notes(path)


def test_damage_is_named_as_such_and_nothing_else_is(rows: list[Row], tmp_path: Path):
    path = write_mcap(tmp_path / 'a.mcap', rows)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    line = refusal(path)
    assert 'does not match its checksum' in line and 'copy it again' in line
    other = write_mcap(tmp_path / 'b.mcap', rows, compression='snappy')
    assert '"snappy" is not known' in refusal(other)


# --- limits


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('compression', ['zstd', 'lz4'])
def test_a_chunk_above_the_limit_is_refused(
    tmp_path: Path, compression: str, index: bool, monkeypatch: pytest.MonkeyPatch
):
    for module in (bag_mcap, bag_scratch):
        monkeypatch.setattr(module, 'UNPACKED_LIMIT', 10_000)
    row = Row(TOPIC, 'sensor_msgs/msg/Image', [(10**10, bytes(10**6))])
    path = write_mcap(tmp_path / 'a.mcap', [row], compression=compression, index=index)
    assert '10000' in refusal(path)


def test_an_mcap_is_known_by_its_contents(source: Path, tmp_path: Path, rows: list[Row]):
    bag = Path(shutil.copytree(source, tmp_path / 'b'))
    (file,) = storage_files(bag)
    write_mcap(file, rows)
    assert contents(bag) == contents(source)


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('more', [b'\n', bytes(5000), b'\0' * 70_000 + b'x', bag_mcap.MAGIC[:7]])
def test_bytes_after_the_end_are_no_cut(
    source: Path, rows: list[Row], tmp_path: Path, more: bytes, index: bool
):
    path = write_mcap(tmp_path / 'a.mcap', rows, index=index)
    path.write_bytes(path.read_bytes() + more)
    assert contents(path) == contents(source)
    assert notes(path) == [f'has {len(more)} bytes after its end, which are skipped']


@pytest.mark.parametrize('index', [True, False])
def test_messages_of_another_encoding_on_a_topic_of_ros_are_counted(
    source: Path, rows: list[Row], tmp_path: Path, index: bool
):
    other = Row(TOPIC, 'foxglove.CompressedImage', [(10**10, b'{}')] * 7, 'protobuf', 'protobuf')
    path = write_mcap(tmp_path / 'a.mcap', [*rows, other], index=index)
    assert contents(path) == contents(source)
    (note,) = notes(path)
    assert note == f'{TOPIC}: 7 of its messages are not of ROS but protobuf, skipped'
