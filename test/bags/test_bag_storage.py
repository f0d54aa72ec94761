# SPDX-License-Identifier: Apache-2.0
"""What the files of a bag hold is read, whatever lies beside them; what is skipped is said."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bag_fixtures import notes
from bag_helpers import (
    KINDS,
    metadata,
    odd,
    odometry,
    split_bag,
    storage_files,
    write_bag,
    write_metadata,
)
from test_bags import TOPIC, contents, records, refused

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.bag_names import is_bag
from ashtkd_ros.bags.sqlite import SqliteFile
from ashtkd_ros.commands.bag_tools import main as bag_tools
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose

pytest_plugins = ['bag_fixtures']


# --- metadata.yaml says one thing, the files another


def of_topics(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(bag: Path) -> None:
        values = metadata(bag)
        for topic in values['topics_with_message_count']:
            change(topic['topic_metadata'])
        write_metadata(bag, values)

    return spoil


def with_values(**changes: Any) -> Callable[[Path], None]:
    return lambda bag: write_metadata(bag, metadata(bag) | changes)


def without(key: str) -> Callable[[Path], None]:
    return lambda bag: write_metadata(bag, {k: v for k, v in metadata(bag).items() if k != key})


def with_text(data: bytes) -> Callable[[Path], None]:
    return lambda bag: (bag / 'metadata.yaml').write_bytes(data)


def renamed(bag: Path) -> None:
    (file,) = storage_files(bag)
    file.rename(file.with_name('other name#1?.db3'))


def qos_in_the_file(bag: Path) -> None:
    with closing(sqlite3.connect(storage_files(bag)[0])) as base, base:
        base.execute("UPDATE topics SET offered_qos_profiles = '- {history: 99, depth: [}'")


ALIASES = b'a0: &a0 [x, x]\n' + b''.join(
    b'a%d: &a%d [*a%d, *a%d]\n' % (n, n, n - 1, n - 1) for n in range(1, 40)
)
UNTOLD: dict[str, Callable[[Path], Any]] = {
    'QoS edited': of_topics(lambda t: t.update(offered_qos_profiles='- {reliability: 3}')),
    'QoS nonsense': of_topics(lambda t: t.update(offered_qos_profiles='- [')),
    'QoS a number': of_topics(lambda t: t.update(offered_qos_profiles=7)),
    'no QoS': of_topics(lambda t: t.pop('offered_qos_profiles')),
    'QoS in the file': qos_in_the_file,
    'other digest': of_topics(lambda t: t.update(type_description_hash='RIHS01_0')),
    'other serialisation': of_topics(lambda t: t.update(serialization_format='json')),
    **{f'version {n}': with_values(version=n) for n in (-1, 1, 4, 9, 12, 'x')},
    'no version': without('version'),
    'no duration': without('duration'),
    'no files': without('relative_file_paths'),
    'other times': with_values(duration={'nanoseconds': -7}, starting_time=None),
    'other storage': with_values(storage_identifier='mcap'),
    'unknown storage': with_values(storage_identifier='tape'),
    'compression unsaid': with_values(compression_mode='file', compression_format='lz4'),
}
TOLD: dict[str, tuple[Callable[[Path], Any], str]] = {
    'no metadata': (lambda b: (b / 'metadata.yaml').unlink(), 'metadata.yaml is missing'),
    'renamed': (renamed, 'metadata.yaml lists plain.db3, which is missing; other name#1?.db3'),
    'no topics': (with_values(topics_with_message_count=[]), 'messages in the files, unknown to'),
    'topics nonsense': (with_values(topics_with_message_count=[7]), 'is damaged (its topics)'),
    'topics missing': (without('topics_with_message_count'), 'is damaged (its topics)'),
    'files nonsense': (with_values(relative_file_paths=[['a'], '', '..', '\0', '/']), 'read'),
    'other type': (of_topics(lambda t: t.update(type='a/msg/B')), 'a/msg/B by metadata.yaml'),
    'other topic': (of_topics(lambda t: t.update(name='/x\x1b[2J')), '0 in the files'),
    'text': (with_text(b'hello'), 'is damaged'),
    'nothing': (with_text(b''), 'is damaged'),
    'broken YAML': (with_text(b'a: [1\nb: }\n- c\n' * 5), 'is damaged'),
    'binary': (with_text(b'\xff\xfe\x00\x90' * 40), 'is damaged'),
    'a list': (with_text(b'- 1\n- 2\n'), 'is damaged'),
    'aliases': (with_text(ALIASES), 'is damaged (it has an alias)'),
    'deep': (with_text(b'[' * 5000), 'is damaged'),
}


@pytest.mark.parametrize('case', UNTOLD)
def test_metadata_that_matters_not_costs_nothing(plain: Path, bag: Path, case: str):
    UNTOLD[case](bag)
    assert contents(bag) == contents(plain) and notes(bag) == []


@pytest.mark.parametrize('case', TOLD)
def test_metadata_that_differs_from_the_files_is_told(plain: Path, bag: Path, case: str):
    spoil, expected = TOLD[case]
    spoil(bag)
    assert is_bag(bag) and contents(bag) == contents(plain)
    assert expected in ' '.join(notes(bag))


@pytest.mark.parametrize(('storage', 'compression'), KINDS, ids='-'.join)
def test_every_kind_is_read_without_metadata(
    plain: Path, tmp_path: Path, storage: str, compression: str
):
    kind = {'storage': storage, 'compression': compression}
    path = write_bag(tmp_path / 'b', records=records(), **kind)
    (path / 'metadata.yaml').unlink()
    assert contents(path) == contents(plain)
    assert 'metadata.yaml is missing' in notes(path)[0]


def test_300_random_metadata_hide_nothing(plain: Path, bag: Path):
    """Any value in any place: the messages are the same, and nothing is raised."""
    expected = raw(plain)
    whole = metadata(bag)
    for seed in range(300):
        chance = random.Random(seed)
        values = whole
        for _ in range(chance.randrange(1, 4)):
            values = replaced(values, chance)
        write_metadata(bag, values)
        assert raw(bag) == expected, seed
        notes(bag)


def raw(path: Path) -> list[tuple[str, int, bytes]]:
    bag = Bag(path)
    found = [(c.topic, received, bytes(data)) for c, received, data in bag._raw([TOPIC, '/odom'])]
    bag.close()
    return found


ODD: list[Any] = [None, -1, 2**70, '', 'x', '\x1b[2J\n', [], {}, [None], {'a': 1}, 1e300, True]


def replaced(value: Any, chance: random.Random) -> Any:
    """A copy in which one value, some way down, is another or gone."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value, key=str))
        if chance.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: replaced(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], replaced(value[at], chance), *value[at + 1 :]]
    return chance.choice(ODD)


# --- more and fewer files


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_files_are_put_in_order_without_metadata(plain: Path, tmp_path: Path, storage: str):
    path = split_bag(tmp_path / 'b', [records(0, 3), records(3, 6)], storage=storage)
    first, second = storage_files(path)
    (path / 'metadata.yaml').unlink()
    first.rename(path / f'z{first.suffix}')
    assert contents(path) == contents(plain) and Bag(path).in_order
    assert second.exists()


def test_a_part_that_metadata_does_not_list_is_read_a_copy_is_not(plain: Path, tmp_path: Path):
    path = split_bag(tmp_path / 'b', [records(0, 3), records(3, 6)])
    values = metadata(path)
    del values['relative_file_paths'][1]
    write_metadata(path, values)
    assert contents(path) == contents(plain)
    assert notes(path) == ['b_1.db3 is read as well, which metadata.yaml does not list']
    shutil.copy(storage_files(path)[0], path / 'copy.db3')
    assert contents(path) == contents(plain)
    assert 'copy.db3 is skipped' in ' '.join(notes(path))


def test_files_that_may_be_copies_are_told_without_metadata(plain: Path, bag: Path):
    (bag / 'metadata.yaml').unlink()
    shutil.copy(storage_files(bag)[0], bag / 'copy.db3')
    assert len(contents(bag)) == 2 * len(contents(plain))
    assert 'copy.db3, plain.db3 overlap in time' in ' '.join(notes(bag))


def test_a_missing_part_is_told_and_the_others_are_read(plain: Path, tmp_path: Path):
    path = split_bag(tmp_path / 'b', [records(0, 3), records(3, 6)])
    storage_files(path)[1].unlink()
    assert contents(path) == contents(plain)[:9]
    assert 'lists b_1.db3, which is missing; b_0.db3 is read' in ' '.join(notes(path))
    assert '6 messages by metadata.yaml, 3 in the files' in ' '.join(notes(path))


def test_a_damaged_part_is_told_and_the_others_are_read(plain: Path, tmp_path: Path):
    path = split_bag(tmp_path / 'b', [records(0, 3), records(3, 6)])
    with storage_files(path)[1].open('r+b') as file:
        file.truncate(5000)
    assert contents(path) == contents(plain)[:9]
    assert 'a file is skipped' in ' '.join(notes(path))


def test_a_packed_copy_beside_its_file_holds_nothing_new(plain: Path, bag: Path, tmp_path: Path):
    packed = write_bag(tmp_path / 'plain', records=records(), compression='file')
    for name in ('both', 'without metadata'):
        both = Path(shutil.copytree(bag, tmp_path / name))
        shutil.copy(storage_files(packed)[0], both)
        if name != 'both':
            (both / 'metadata.yaml').unlink()
        assert contents(both) == contents(plain)


def test_other_serialisations_are_named_and_the_others_read(plain: Path, bag: Path):
    with closing(sqlite3.connect(storage_files(bag)[0])) as base, base:
        base.execute("UPDATE topics SET serialization_format = 'json' WHERE name = '/odd'")
    assert contents(bag) == contents(plain)
    assert notes(bag) == ['/odd: not messages of ROS but json, skipped']


# --- names, and where notes go


@pytest.mark.parametrize(('storage', 'compression'), KINDS, ids='-'.join)
@pytest.mark.parametrize('name', ['a#b', 'a?mode=rw&x', '100%25 ä', 'a b', "it's", '%', 'file:x'])
def test_any_name_will_do(plain: Path, tmp_path: Path, name: str, storage: str, compression: str):
    kind = {'storage': storage, 'compression': compression}
    path = write_bag(tmp_path / 'b', records=records(), **kind).rename(tmp_path / name)
    (file,) = storage_files(path)
    assert contents(path) == contents(plain)
    single = file.rename(path / (name + ''.join(file.suffixes)))
    assert contents(single) == contents(plain)


@pytest.mark.parametrize('name', ['x.mcap', 'x.mcap_0.db3', 'x.mcap.zstd', 'x.db3.mcap'])
def test_a_file_of_sqlite3_is_known_by_its_contents(plain: Path, tmp_path: Path, name: str):
    packed = name.endswith('.zstd')
    kind = 'file' if packed else 'none'
    path = write_bag(tmp_path / 'x.mcap', records=records(), compression=kind)
    (file,) = storage_files(path)
    file = file.rename(path / name)
    (path / 'metadata.yaml').unlink()
    assert contents(file) == contents(path) == contents(plain)


def test_bag_tools_tells_what_was_passed_over(bag: Path, capsys: pytest.CaptureFixture):
    (bag / 'metadata.yaml').unlink()
    with pytest.raises(SystemExit) as end:
        bag_tools(['info', str(bag)])
    printed = capsys.readouterr()
    assert end.value.code == 0 and '/odom' in printed.out
    assert printed.err.startswith(f'note: {bag}: metadata.yaml is missing')


def test_a_bag_is_not_made_of_a_bag_or_a_file(bag: Path, capsys: pytest.CaptureFixture):
    for source in (bag, bag / 'metadata.yaml'):
        with pytest.raises(SystemExit) as end:
            bag_tools(['make', str(source), '-o', str(bag.parent / 'new')])
        expected = f'error: {source}: is not a folder of images; name one with poses.csv'
        assert end.value.code == 1 and capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize('statement', ['', 'CREATE INDEX other ON messages (topic_id)'])
def test_without_an_index_the_messages_are_not_sorted_with_their_data(
    plain: Path, bag: Path, monkeypatch: pytest.MonkeyPatch, statement: str
):
    (file,) = storage_files(bag)
    with closing(sqlite3.connect(file)) as base, base:
        base.execute('DROP INDEX timestamp_idx')
        base.execute(statement)
    queries, expected, read = [], contents(plain), SqliteFile._rows

    def rows(opened: SqliteFile, what: str, *rest: Any) -> Any:
        queries.append(what)
        return read(opened, what, *rest)

    monkeypatch.setattr(SqliteFile, '_rows', rows)
    assert contents(bag) == expected
    assert queries == ['NULL']


def test_an_empty_bag_has_no_span(tmp_path: Path):
    bag = Bag(write_bag(tmp_path / 'b', records=[]))
    assert (bag.start_s, bag.end_s, bag.topics) == (0, 0, {})


def test_200_damaged_files_are_a_line_or_sound(tmp_path: Path):
    """Any byte of a sqlite3 file changed: read, or refused by a line; never anything else."""
    path = write_bag(tmp_path / 'b', records=[odd(1.0), odometry(1.0, Pose(1, 2, 3))])
    (file,) = storage_files(path)
    whole, chance = file.read_bytes(), random.Random(9)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 30])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data)
        try:
            raw(path)
        except VprError as error:
            assert str(error).isprintable() and 'as a bag' not in str(error)


def test_a_view_without_end_is_no_table(bag: Path):
    with closing(sqlite3.connect(storage_files(bag)[0])) as base, base:
        base.execute('ALTER TABLE messages RENAME TO others')
        base.execute(
            'CREATE VIEW messages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) '
            "SELECT i AS id, 1 AS topic_id, 1 AS timestamp, x'00' AS data FROM n"
        )
    assert 'lacks the tables' in refused(bag)


@pytest.mark.parametrize('name', ['x' * 300, 'x' * 300 + '.mcap', 'a\0b', 'loop/x.mcap'])
def test_a_path_that_cannot_be_is_no_bag(tmp_path: Path, name: str):
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    with pytest.raises(VprError) as error:
        Bag(tmp_path / name)
    assert 'no such bag' in str(error.value)


def test_a_folder_that_must_not_be_read_is_said(bag: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (bag / 'metadata.yaml').unlink()
    for function in ('listdir', 'scandir'):
        monkeypatch.setattr(os, function, forbidden)
    assert not is_bag(bag) and 'cannot be read (Permission denied)' in refused(bag)


@pytest.mark.parametrize('kind', ['dangling', 'folder'])
def test_what_is_no_file_beside_the_others_is_told(plain: Path, bag: Path, kind: str):
    if kind == 'folder':
        (bag / 'x.db3').mkdir()
    else:
        (bag / 'x.db3').symlink_to(bag / 'gone')
    assert contents(bag) == contents(plain)
    assert 'x.db3: cannot be read' in ' '.join(notes(bag))


@pytest.mark.parametrize('listed', [True, False])
def test_beside_a_damaged_packed_file_its_sound_copy_is_read(
    plain: Path, tmp_path: Path, listed: bool
):
    path = write_bag(tmp_path / 'plain', records=records(), compression='file')
    (packed,) = storage_files(path)
    packed.write_bytes(packed.read_bytes()[:-200])
    shutil.copy(storage_files(plain)[0], path)
    if not listed:
        (path / 'metadata.yaml').unlink()
    assert contents(path) == contents(plain)
    if listed:
        assert 'plain.db3 is read in its place' in ' '.join(notes(path))
    storage_files(path)[0].write_bytes(b'SQLite format 3\0' + bytes(99))
    assert 'damaged' in refused(path) or 'cut off' in refused(path)


@pytest.mark.parametrize('name', ['D.DB3', 'd.sqlite3', 'd.db3.bak', 'd', 'd.db3.zst', 'd.MCAP'])
@pytest.mark.parametrize('whole', [True, False])
def test_a_file_of_a_bag_by_another_name_is_named(tmp_path: Path, name: str, whole: bool):
    storage = 'mcap' if 'MCAP' in name else 'sqlite3'
    kind = 'file' if name.endswith('zst') else 'none'
    path = write_bag(tmp_path / 'b', records=records(), storage=storage, compression=kind)
    file = storage_files(path)[0].rename(path / name)
    for kept in (True, False):
        if not kept:
            (path / 'metadata.yaml').unlink(missing_ok=True)
        line = refused(path if whole else file)
        assert f'{name} is a file of a bag' in line
        assert f'.{storage[:4]}'.replace('sqli', 'db3') in line
