# SPDX-License-Identifier: Apache-2.0
"""Bags that are recorded: read by all readers, split, cut by a kill, stopped by a full disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import line_of
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.typesys import Stores, get_typestore

from ashtkd_ros.bags import bag_recording, mcap_writer, patient_file
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.bag_recording import BagRecording
from ashtkd_ros.bags.mcap_writer import RecordedTopic
from ashtkd_ros.errors import VprError

STRING = 'std_msgs/msg/String'
QOS = """\
- history: 3
  depth: 0
  reliability: 1
  durability: 1
  deadline: {sec: 0, nsec: 0}
  lifespan: {sec: 0, nsec: 0}
  liveliness: 1
  liveliness_lease_duration: {sec: 0, nsec: 0}
  avoid_ros_namespace_conventions: false
"""
HASH = 'RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18'
WORDS = RecordedTopic('/words', STRING, 'string data\n', QOS, HASH)
ODD = RecordedTopic('/odd', 'odd_msgs/msg/Odd')
START_NS = 1_700_000_000 * 10**9


def said(number: int, size: int = 0) -> bytes:
    """A String in CDR."""
    store = get_typestore(Stores.ROS2_JAZZY)
    text = f'{number}'.ljust(size, '.')
    return bytes(store.serialize_cdr(store.types[STRING](data=text), STRING))


def write(bag: BagRecording, numbers: range, size: int = 0) -> None:
    """Messages on both topics, 1 ms apart."""
    for number in numbers:
        received = START_NS + number * 10**6
        assert bag.write(WORDS, received, said(number, size))
        assert bag.write(ODD, received + 1, b'\0\1\0\0' + bytes([number % 256]))


def content(path: Path, topic: str = '/words') -> list[tuple[int, bytes]]:
    """Receive times and bytes by our own reader, which must have nothing to say."""
    bag = Bag(path)
    found = [(received, data) for _, received, data in bag.serialized([topic])]
    assert bag.notes == [] and bag.lost == [] and bag.in_order
    bag.close()
    return found


def expected(numbers: range, size: int = 0) -> list[tuple[int, bytes]]:
    return [(START_NS + number * 10**6, said(number, size)) for number in numbers]


def streamed(file: Path) -> list[bytes]:
    """The messages on /words that mcap's own reader finds before the file breaks off."""
    found = []
    with file.open('rb') as opened:
        try:
            for record in StreamReader(opened, skip_magic=False).records:
                if isinstance(record, Message) and record.channel_id == 1:
                    found.append(record.data)
        except McapError:
            pass
    return found


def test_what_is_recorded_is_read_by_all_readers(tmp_path: Path) -> None:
    bag = BagRecording(tmp_path / 'bag')
    write(bag, range(100))
    bag.close()
    assert (bag.messages, bag.trouble, bag.file) == (200, None, '')
    assert content(bag.folder) == expected(range(100))
    assert len(content(bag.folder, '/odd')) == 100
    with AnyReader([bag.folder]) as reader:
        words = [c for c in reader.connections if c.topic == '/words']
        texts = [reader.deserialize(d, c.msgtype).data for c, _, d in reader.messages(words)]
        [qos] = words[0].ext.offered_qos_profiles
    assert texts == [str(number) for number in range(100)]
    assert qos.durability == QosDurability.TRANSIENT_LOCAL
    with (bag.folder / 'bag_0.mcap').open('rb') as opened:
        reader = make_reader(opened, validate_crcs=True)
        found = [(m.log_time, m.data) for _, c, m in reader.iter_messages('/words')]
        schemas = {s.name: (s.encoding, s.data) for s in reader.get_summary().schemas.values()}
        [metadata] = reader.iter_metadata()
    assert found == expected(range(100))
    assert schemas == {STRING: ('ros2msg', b'string data\n'), ODD.type: ('', b'')}
    assert yaml.safe_load(metadata.metadata['serialized_metadata'])['message_count'] == 200


def test_metadata_is_what_humble_reads(tmp_path: Path) -> None:
    bag = BagRecording(tmp_path / 'bag')
    write(bag, range(10))
    bag.close()
    values = yaml.safe_load((bag.folder / 'metadata.yaml').read_text())
    [(name, values)] = values.items()
    assert name == 'rosbag2_bagfile_information'
    assert (values['version'], values['storage_identifier']) == (8, 'mcap')
    assert values['starting_time'] == {'nanoseconds_since_epoch': START_NS}
    assert values['duration'] == {'nanoseconds': 9 * 10**6 + 1}
    assert values['relative_file_paths'] == ['bag_0.mcap']
    [words, odd] = values['topics_with_message_count']
    assert words['message_count'] == odd['message_count'] == 10
    assert words['topic_metadata'] == {
        'name': '/words',
        'type': STRING,
        'serialization_format': 'cdr',
        'offered_qos_profiles': QOS,
        'type_description_hash': HASH,
    }


def test_a_long_recording_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(bag_recording.time, 'monotonic', lambda: clock[0])
    bag = BagRecording(tmp_path / 'bag', split_s=5.0)
    for number in range(30):
        clock[0] = float(number)
        write(bag, range(number, number + 1))
        ended = yaml.safe_load((bag.folder / 'metadata.yaml').read_text()) if number > 4 else {}
        listed = ended.get('rosbag2_bagfile_information', {}).get('relative_file_paths', [])
        assert listed == [f'bag_{i}.mcap' for i in range(number // 5)]
    bag.close()
    assert content(bag.folder) == expected(range(30))
    assert len(list(bag.folder.glob('*.mcap'))) == 6
    with AnyReader([bag.folder]) as reader:
        assert reader.message_count == 60


def test_a_large_file_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_recording, '_LARGEST', 50_000)
    bag = BagRecording(tmp_path / 'bag')
    for number in range(100):
        write(bag, range(number, number + 1), size=1000)
        bag.flush()
    bag.close()
    assert content(bag.folder) == expected(range(100), 1000)
    sizes = [file.stat().st_size for file in bag.folder.glob('*.mcap')]
    assert len(sizes) > 2 and max(sizes) < 60_000


def test_a_bag_without_messages_is_a_bag(tmp_path: Path) -> None:
    bag = BagRecording(tmp_path / 'bag')
    bag.close()
    opened = Bag(bag.folder)
    assert (opened.topics, opened.notes) == ({}, [])


def test_what_was_flushed_outlives_a_kill_at_any_byte(tmp_path: Path) -> None:
    bag = BagRecording(tmp_path / 'bag')
    write(bag, range(20), size=2000)
    bag.flush()
    flushed = (bag.folder / 'bag_0.mcap').stat().st_size
    write(bag, range(20, 40), size=2000)
    bag.flush()
    write(bag, range(40, 60))  # these are not
    file = Path(shutil.copytree(bag.folder, tmp_path / 'killed')) / 'bag_0.mcap'
    whole = [data for _, data in expected(range(40), 2000)]
    for length in (file.stat().st_size, flushed + 20_000, flushed + 1, flushed):
        os.truncate(file, length)
        opened = Bag(file.parent)
        found = [data for _, _, data in opened.serialized(['/words'])]
        assert 'is missing (the recorder was killed?)' in opened.notes[0]
        assert 'was cut off (the recorder was killed' in opened.notes[1]
        opened.close()
        least = 40 if length > flushed + 40_000 else 20
        assert found == whole[: len(found)] and len(found) >= least
        assert streamed(file) == whole[:least]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Sets how many bytes the disk takes from now on, and the number of its error then."""
    room, number, own = [2**60], [errno.ENOSPC], os.write

    def limited(handle: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(number[0], os.strerror(number[0]))
        written = own(handle, data[: room[0]])
        room[0] -= written
        return written

    def resize(size: int, error: int = errno.ENOSPC) -> None:
        room[0], number[0] = size, error

    monkeypatch.setattr(patient_file.os, 'write', limited)
    return resize


@pytest.mark.parametrize('room', [0, 1, 8, 100, 5000, 30_000, 200_000])
def test_a_full_disk_costs_nothing_that_was_taken(tmp_path: Path, disk, room: int) -> None:
    bag = BagRecording(tmp_path / 'bag')
    write(bag, range(10), size=2000)
    bag.flush()
    disk(room)
    write(bag, range(10, 60), size=2000)
    bag.flush()
    if room < 100_000:
        assert bag.trouble.errno == errno.ENOSPC
    bag.pause()
    assert not bag.write(WORDS, 1, said(1)) and bag.file == ''
    opened = Bag(bag.folder)  # what is there can be read meanwhile
    found = [data for _, _, data in opened.serialized(['/words'])]
    opened.close()
    assert found == [data for _, data in expected(range(60), 2000)][: len(found)]
    assert len(found) >= 10
    assert bag.resume() == (room == 200_000)
    disk(2**60)
    assert bag.resume() and bag.trouble is None
    write(bag, range(60, 70), size=2000)
    bag.close()
    assert content(bag.folder) == expected(range(70), 2000)


def test_a_disk_that_never_takes_the_end_is_told(tmp_path: Path, disk) -> None:
    bag = BagRecording(tmp_path / 'bag')
    write(bag, range(10))
    disk(0, errno.EDQUOT)
    with pytest.raises(VprError) as error:
        bag.close()
    assert 'the end of the bag cannot be written (Disk quota exceeded); make room' in line_of(
        error
    )


def test_no_bag_is_begun_on_a_full_disk(tmp_path: Path, disk) -> None:
    disk(0)
    with pytest.raises(VprError) as error:
        BagRecording(tmp_path / 'bag')
    assert 'the bag cannot be written (No space left on device); make room' in line_of(error)
    assert not (tmp_path / 'bag').exists()


@pytest.mark.parametrize('kind', ['file', 'folder', 'link'])
def test_what_exists_is_never_written_into(tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'bag'
    if kind == 'link':
        path.symlink_to(tmp_path)
    elif kind == 'folder':
        path.mkdir()
    else:
        path.write_text('mine')
    before = sorted(tmp_path.iterdir())
    with pytest.raises(VprError) as error:
        BagRecording(path)
    assert line_of(error) == f'{path}: exists already; give another name or remove it'
    assert sorted(tmp_path.iterdir()) == before


def test_an_old_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcap_writer, 'Writer', object)
    with pytest.raises(VprError) as error:
        BagRecording(tmp_path / 'bag')
    assert 'pip install --upgrade mcap' in line_of(error)
    assert not (tmp_path / 'bag').exists()
