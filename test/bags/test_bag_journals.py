# SPDX-License-Identifier: Apache-2.0
"""Journals of sqlite3 are read with their file; nothing is waited for or unpacked for ever."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import struct
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bag_fixtures import notes
from bag_helpers import (
    split_bag,
    storage_files,
    write_bag,
)
from conftest import line_of
from test_bags import contents, records, refused

from ashtkd_ros.bags import unpacking as bag_scratch
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

pytest_plugins = ['bag_fixtures']


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        p.name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in folder.iterdir()
    }


# --- journals of sqlite3


def killed(bag: Path, share: float, journal: str = 'WAL') -> Path:
    """The bag as a kill leaves it when the last messages are in the journal only."""
    (file,) = storage_files(bag)
    with closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.execute(f'PRAGMA journal_mode={journal}')
        rows = base.execute('SELECT * FROM messages ORDER BY id').fetchall()
        held = rows[int(len(rows) * share) :]
        base.executemany('DELETE FROM messages WHERE id = ?', [(r[0],) for r in held])
        base.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        if journal == 'WAL':
            base.executemany('INSERT INTO messages VALUES (?, ?, ?, ?)', held)
        else:  # messages that were not complete: the journal takes them back
            base.execute('PRAGMA cache_size=1')
            base.execute('BEGIN')
            junk = [(r[0] + 1000, *r[1:3], b'\xff' * 9000) for r in rows]
            base.executemany('INSERT INTO messages VALUES (?, ?, ?, ?)', junk)
            base.executemany('UPDATE messages SET data = zeroblob(5) WHERE id = ?', [(1,), (2,)])
        left = shutil.copytree(bag, bag.with_name('killed'))
    for each in left.glob('*-shm'):
        each.unlink()
    return Path(left)


@pytest.mark.parametrize('share', [0.0, 0.5, 0.9])
@pytest.mark.parametrize('whole', [True, False], ids=['folder', 'file'])
def test_messages_in_a_wal_are_read_and_the_bag_stays(
    plain: Path,
    bag: Path,
    tmp_path: Path,
    share: float,
    whole: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    room = tmp_path / 'room'
    room.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(room))
    left = killed(bag, share)
    before, expected = snapshot(left), contents(plain)
    assert any(name.endswith('-wal') for name in before)
    path = left if whole else storage_files(left)[0]
    assert contents(path) == expected
    (note,) = notes(path)
    assert 'journal' in note and 'TMPDIR' in note
    assert snapshot(left) == before and not list(room.iterdir())


def test_60_cut_or_damaged_wals_give_what_was_complete(plain: Path, bag: Path):
    """As sqlite3 has it: transactions up to the damage count, no message is another."""
    left = killed(bag, 0.0)
    (wal,) = left.glob('*-wal')
    whole, expected, chance, seen = wal.read_bytes(), contents(plain), random.Random(2), set()
    for i in range(60):
        data = bytearray(whole)
        if i % 2:
            del data[chance.randrange(len(data)) :]
        else:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        wal.write_bytes(data)
        found = contents(left)
        assert found == [m for m in expected if m in found]
        if len(found) < len(expected):
            assert 'messages by metadata.yaml' in ' '.join(notes(left))
        seen.add(len(found))
    assert len(seen) > 5


def test_what_a_hot_journal_takes_back_is_not_read(bag: Path, plain: Path):
    left = killed(bag, 1.0, 'DELETE')
    before = snapshot(left)
    assert any(name.endswith('-journal') for name in before)
    assert contents(left) == contents(plain) and 'journal' in notes(left)[0]
    assert snapshot(left) == before


def test_empty_journals_are_of_no_matter(bag: Path, plain: Path):
    (file,) = storage_files(bag)
    for ending in ('-wal', '-journal', '-shm'):
        file.with_name(file.name + ending).touch()
    os.mkfifo(bag / 'other.db3-wal')
    assert contents(bag) == contents(plain) and notes(bag) == []


def test_a_journal_of_one_part_of_a_split_bag_is_read(plain: Path, tmp_path: Path):
    path = split_bag(tmp_path / 'b', [records(0, 3), records(3, 6)])
    one = tmp_path / 'one'
    one.mkdir()
    shutil.copy(storage_files(path)[1], one)
    left = killed(one, 0.5)
    for file in left.iterdir():
        shutil.copy(file, path)
    assert contents(path) == contents(plain)


def linked(left: Path, whole: bool) -> Path:
    """A link to the file elsewhere; alone, or in a folder with metadata.yaml."""
    folder = left.with_name('links')
    folder.mkdir()
    (folder / 'lnk.db3').symlink_to(Path('..') / left.name / storage_files(left)[0].name)
    if whole:
        shutil.copy(left / 'metadata.yaml', folder)
    return folder if whole else folder / 'lnk.db3'


@pytest.mark.parametrize('journal', ['WAL', 'DELETE'])
@pytest.mark.parametrize('whole', [True, False], ids=['folder', 'file'])
def test_a_link_to_a_file_leads_to_its_journal(plain: Path, bag: Path, whole: bool, journal: str):
    left = killed(bag, 0.3 if journal == 'WAL' else 1.0, journal)
    path = linked(left, whole)
    assert contents(path) == contents(plain) and 'journal' in ' '.join(notes(path))
    beside = left.with_name('beside')  # a store in which every file is a link of its own
    beside.mkdir()
    for number, file in enumerate(sorted(left.iterdir())):
        (beside / file.name).symlink_to(shutil.copy(file, left.parent / f'object{number}'))
    assert contents(beside) == contents(plain)
    one = open_traverse(path, TraverseOptions(pose_topic='none')).fingerprint()
    (file,) = [f for f in left.iterdir() if f.name.endswith(('-wal', '-journal'))]
    os.utime(file, ns=(1, 1))
    assert open_traverse(path, TraverseOptions(pose_topic='none')).fingerprint() != one


@pytest.mark.parametrize('journal', ['WAL', 'DELETE'])
@pytest.mark.parametrize('whole', [True, False], ids=['folder', 'file'])
def test_a_renamed_file_finds_its_journal(plain: Path, bag: Path, whole: bool, journal: str):
    left = killed(bag, 0.3 if journal == 'WAL' else 1.0, journal)
    file = storage_files(left)[0].rename(left / 'day.db3')
    before = snapshot(left)
    path = left if whole else file
    assert contents(path) == contents(plain)
    told = ' '.join(notes(path))
    assert 'was the file renamed?' in told and 'plain.db3-' in told
    assert snapshot(left) == before


@pytest.mark.parametrize('what', ['two files', 'two journals', 'of another bag', 'other pages'])
def test_a_journal_that_may_be_of_another_file_is_told(
    plain: Path, bag: Path, tmp_path: Path, what: str
):
    left = killed(bag, 0.0 if what == 'of another bag' else 0.5)
    (wal,) = left.glob('*-wal')
    file = storage_files(left)[0].rename(left / 'day.db3')
    if what == 'two files':
        shutil.copy(file, left / 'copy.db3')
    elif what == 'two journals':
        shutil.copy(wal, left / 'old.db3-wal')
    elif what == 'other pages':
        data = bytearray(wal.read_bytes())
        data[8:12] = struct.pack('>I', 8192)
        wal.write_bytes(data)
    else:
        other = write_bag(tmp_path / 'other', records=records(20, 29))
        shutil.copy(storage_files(other)[0], file)
        with closing(sqlite3.connect(file)) as base:
            base.execute('PRAGMA journal_mode=WAL')
        for each in left.glob('day.db3-*'):
            each.unlink()
    expected = contents(other) if what == 'of another bag' else contents(plain)[:9]
    assert contents(file) == expected
    (note,) = notes(file)
    assert 'plain.db3-wal' in note and 'without its file' in note and 'is read' in note


def test_journals_of_other_programs_are_of_no_matter(plain: Path, bag: Path):
    left = killed(bag, 0.5)
    (wal,) = left.glob('*-wal')
    shutil.copy(wal, bag / 'firefox.sqlite-wal')
    (bag / 'x.db3-wal').write_bytes(b'hello')
    for each in bag.glob('plain.db3-*'):
        each.unlink()
    assert contents(bag) and notes(bag) == [n for n in notes(bag) if 'journal' not in n]


def test_a_journal_that_was_left_behind_is_missed(bag: Path):
    left = killed(bag, 0.5)
    (left / 'plain.db3-wal').unlink()
    (left / 'metadata.yaml').unlink()
    assert not any('-wal' in n for n in notes(left))
    (left / 'plain.db3-shm').write_bytes(bytes(32768))
    assert 'but no plain.db3-wal' in ' '.join(notes(left))


def test_a_journal_beside_an_empty_file_is_no_error_of_ours(bag: Path):
    left = killed(bag, 0.5)
    (left / 'plain.db3').write_bytes(b'')
    assert 'lacks the tables' in refused(left)


def long_wal(bag: Path) -> tuple[Path, Path, bytes]:
    left = killed(bag, 0.0)
    (left / 'metadata.yaml').unlink()
    (wal,) = left.glob('*-wal')
    return left, wal, wal.read_bytes()


def test_every_damage_of_a_journal_is_told(plain: Path, bag: Path):
    """Without metadata.yaml, as a kill leaves it, nothing else would tell what lacks."""
    left, wal, whole = long_wal(bag)
    expected, chance, told = contents(plain), random.Random(3), 0
    sound = notes(left)
    for i in range(60):
        data = bytearray(whole)
        if i % 3:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            at = chance.randrange(4096, len(data))
            data[at : at + 5000] = bytes(len(data[at : at + 5000]))
        wal.write_bytes(data)
        if len(contents(left)) < len(expected):
            assert 'messages are missing' in ' '.join(notes(left)), i
            assert wal.name in ' '.join(notes(left))
            told += 1
    assert told > 30
    wal.write_bytes(whole[: len(whole) // 2])
    assert 'messages are missing' in ' '.join(notes(left))
    wal.write_bytes(whole)
    assert notes(left) == sound


def test_what_a_journal_held_before_it_was_begun_anew_is_of_no_matter(bag: Path, plain: Path):
    (file,) = storage_files(bag)
    with closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.execute('PRAGMA journal_mode=WAL')
        rows = base.execute('SELECT * FROM messages ORDER BY id').fetchall()
        base.execute('UPDATE messages SET data = zeroblob(40000)')
        base.execute('PRAGMA wal_checkpoint(RESTART)')
        base.execute('UPDATE messages SET data = ? WHERE id = ?', (rows[0][3], rows[0][0]))
        left = Path(shutil.copytree(bag, bag.with_name('killed')))
    (left / 'plain.db3-shm').unlink()
    assert not any('missing' in n for n in notes(left)) and 'journal' in ' '.join(notes(left))


def test_no_room_for_the_copy_is_refused_with_the_way_out(
    bag: Path, monkeypatch: pytest.MonkeyPatch
):
    left = killed(bag, 0.5)
    monkeypatch.setattr(bag_scratch, '_ROOM_LEFT', 2**62)
    line = refused(left)
    assert 'TMPDIR' in line and 'wal_checkpoint' in line and 'no room' in line


def test_no_room_to_unpack_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_bag(tmp_path / 'b', records=records(), compression='file')
    monkeypatch.setattr(bag_scratch, '_ROOM_LEFT', 2**62)
    line = refused(path)
    assert 'TMPDIR' in line and 'no room to unpack' in line


# --- what is no regular file, and what is too large


@pytest.mark.parametrize('name', ['metadata.yaml', 'plain.db3', 'x.mcap', 'x.db3.zstd'])
def test_a_fifo_is_not_waited_for(plain: Path, bag: Path, name: str):
    (bag / name).unlink(missing_ok=True)
    os.mkfifo(bag / name)
    done = threading.Event()
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(contents(bag))
        except VprError as error:
            found.append(str(error))
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(20)
    if name == 'plain.db3':
        assert 'plain.db3' in found[0] and '\n' not in found[0]
    else:
        assert found == [contents(plain)] and len(notes(bag)) == 1


@pytest.mark.parametrize('ending', ['.db3', '.mcap', '.bag', '.db3.zstd', '.bag.active'])
def test_a_fifo_as_a_bag_is_refused(tmp_path: Path, ending: str):
    path = tmp_path / f'a{ending}'
    os.mkfifo(path)
    assert 'not a regular file' in refused(path)


def test_a_message_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_bag(tmp_path / 'b', records=records(), compression='message')
    with closing(sqlite3.connect(storage_files(path)[0])) as base, base:
        bomb = bag_scratch.zstd.compress(bytes(2**31 - 1))
        topic = "(SELECT id FROM topics WHERE name = '/odom')"
        base.execute(f'UPDATE messages SET data = ? WHERE topic_id = {topic}', (bomb,))
    assert len(bomb) < 200_000
    assert f'unpacks to {2**31 - 1} bytes, of which {2**29} are allowed' in refused(path)
    with pytest.raises(VprError) as error:
        list(Bag(path).serialized(['/odom']))
    assert 'are allowed' in line_of(error)
    lenient = [m for _, _, m in Bag(path).messages(['/odom'], lenient=True)]
    assert lenient == [None] * 12


def test_unpacking_stops_at_the_limit_whatever_the_data_say():
    streamed = bag_scratch.zstd.ZstdCompressor()  # says no size
    data = streamed.compress(bytes(10**6)) + streamed.flush()
    with pytest.raises(ValueError, match='more than 1000'):
        bag_scratch.unpack(data, limit=1000)
    assert bag_scratch.unpack(data) == bytes(10**6)
    for spoiled in (data[:-3], data[:20], b'\x28\xb5\x2f\xfd', data[:9] + b'\xff' * 9):
        with pytest.raises(ValueError, match='its zstd data'):
            bag_scratch.unpack(spoiled)
