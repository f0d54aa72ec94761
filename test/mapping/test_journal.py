# SPDX-License-Identifier: Apache-2.0
"""What a build has noted down survives it, torn ends are cut, other builds begin anew."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping import journal as journal_module
from ashtkd_ros.mapping.journal import Journal

KEY = {'model': 'a', 'options': {'metres': 1.0}}
ROWS = unit_rows(5, 4)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'map'


def written(out: Path, count: int = 5, key: dict | None = None) -> Path:
    """A journal of `count` entries, closed; its folder."""
    journal = Journal(out, key or KEY, 4)
    for i in range(count):
        journal.add_thumbnail(i, b'picture %d' % i)
        journal.add({'number': i}, ROWS[i])
    journal.flush()
    journal.close()
    return journal.folder


def contents(out: Path, key: dict | None = None) -> list[int]:
    """Numbers of the entries that are taken up, after a check of their descriptors."""
    journal = Journal(out, key or KEY, 4)
    numbers = [entry['number'] for entry in journal.entries()]
    assert journal.count == len(numbers)
    assert journal.last == ({'number': numbers[-1]} if numbers else None)
    if numbers:
        assert journal.descriptors().tobytes() == ROWS[: len(numbers)].tobytes()
    journal.close()
    return numbers


def test_entries_are_taken_up_by_the_same_build(out: Path):
    folder = written(out, 3)
    assert contents(out) == [0, 1, 2]
    journal = Journal(out, KEY, 4)
    journal.add({'number': 3}, ROWS[3])
    assert list(journal.entries())[-1] == {'number': 3}
    journal.close()
    assert contents(out) == [0, 1, 2, 3]
    assert (folder / 'thumbnails' / '000002.jpg').read_bytes() == b'picture 2'


def test_nothing_is_taken_up_from_nothing(out: Path):
    assert contents(out) == [] and not out.exists()


@pytest.mark.parametrize('torn', range(4))
def test_a_torn_end_is_cut_off(out: Path, torn: int):
    folder = written(out)
    table, rows = folder / 'places.jsonl', folder / 'descriptors.f32'
    if torn == 0:  # half a line
        os.truncate(table, table.stat().st_size - 3)
    elif torn == 1:  # half a descriptor
        os.truncate(rows, rows.stat().st_size - 7)
    elif torn == 2:  # a descriptor without a line
        os.truncate(table, table.stat().st_size - len('{"number": 4}\n') - 33)
    else:  # after a power cut: blocks that never came to the disk
        data = bytearray(table.read_bytes())
        data[-14:-1] = bytes(13)
        table.write_bytes(data)
    assert contents(out) == [0, 1, 2, 3]
    journal = Journal(out, KEY, 4)
    journal.add({'number': 4}, ROWS[4])
    journal.flush()
    journal.close()
    assert contents(out) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('name', ['places.jsonl', 'descriptors.f32'])
def test_a_lost_file_begins_anew(out: Path, name: str):
    (written(out) / name).unlink()
    assert contents(out) == []


def test_another_build_begins_anew(out: Path):
    folder = written(out)
    assert contents(out, KEY | {'model': 'b'}) == []
    assert not (folder / 'thumbnails').exists()
    assert contents(out) == []


def test_a_half_written_key_begins_anew(out: Path):
    folder = written(out)
    os.truncate(folder / 'build.json', 9)
    assert contents(out) == []


def test_one_build_at_a_time(out: Path):
    first = Journal(out, KEY, 4)
    first.add({'number': 0}, ROWS[0])
    with pytest.raises(VprError) as error:
        Journal(out, KEY | {'model': 'b'}, 4)
    assert 'another build_map or map_tools is at work on this map' in line_of(error)
    first.flush()
    first.close()
    assert contents(out) == [0]


def test_removing_leaves_nothing(out: Path, tmp_path: Path):
    written(out)
    journal = Journal(out, KEY, 4)
    journal.remove()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_removal_that_is_cut_short_is_not_taken_up(out: Path, monkeypatch: pytest.MonkeyPatch):
    folder = written(out)
    journal = Journal(out, KEY, 4)
    unlink, removed = Path.unlink, []

    def stopped(path: Path, **options: bool) -> None:
        if removed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        removed.append(path)
        unlink(path, **options)

    monkeypatch.setattr(Path, 'unlink', stopped)
    journal.remove()
    journal.close()
    monkeypatch.undo()
    assert (folder / 'places.jsonl').exists() and contents(out) == []


def test_what_a_killed_save_left_is_cleared_away_and_nothing_else(tmp_path: Path):
    ours = '.map.0123456789abcdef.new'
    names = (ours, '.map.1234.new', '.map.backup.99.new', '.map.new', '.other.1.new')
    for name in names:
        (tmp_path / name).mkdir()
    contents(tmp_path / 'map')
    left = {p.name for p in tmp_path.iterdir()} - {'.map.building'}
    assert left == set(names[1:])


def test_a_name_like_a_pattern_is_a_name(tmp_path: Path):
    mine, ours = (tmp_path / f'.{name}.0123456789abcdef.new' for name in ('m', '[m]'))
    mine.mkdir()
    ours.mkdir()
    contents(tmp_path / '[m]')
    assert mine.exists() and not ours.exists()


def test_a_full_disk_is_one_line_and_what_was_noted_stays(
    out: Path, monkeypatch: pytest.MonkeyPatch
):
    written(out, 2)
    journal = Journal(out, KEY, 4)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal.add({'number': 2}, ROWS[2])
    monkeypatch.setattr(journal_module.os, 'fsync', full)
    with pytest.raises(VprError) as error:
        journal.flush()
    monkeypatch.undo()
    assert 'No space left on device' in line_of(error) and 'make room' in str(error.value)
    journal.close()
    assert contents(out)[:2] == [0, 1]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(VprError) as error:
        Journal(tmp_path / 'file' / 'map', KEY, 4)
    assert 'cannot be written (' in line_of(error)


def test_numbers_keep_every_digit(out: Path):
    journal = Journal(out, KEY, 4)
    values = {'number': 0, 'x': 0.1 + 0.2, 'y': 1e9 / 3, 'z': -1e-17}
    journal.add(values, np.zeros(4, np.float32))
    journal.flush()
    journal.close()
    assert Journal(out, KEY, 4).last == values
    assert json.loads(json.dumps(values)) == values


def test_lines_of_another_build_are_not_taken_up(out: Path):
    """A journal whose key was exchanged: the chain of checksums begins with the key."""
    folder = written(out, 3)
    other = {**KEY, 'options': {'metres': 2.0}}
    (folder / 'build.json').write_text(json.dumps(other, sort_keys=True))
    assert contents(out, other) == []


@pytest.mark.parametrize('name', ['places.jsonl', 'descriptors.f32'])
@pytest.mark.parametrize('kind', ['fifo', 'link', 'dangling link'])
def test_a_fifo_or_link_in_the_place_of_a_file_is_neither_waited_for_nor_followed(
    out: Path, tmp_path: Path, name: str, kind: str
):
    path, elsewhere = written(out, 3) / name, tmp_path / 'elsewhere'
    path.unlink()
    if kind == 'fifo':
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere)
    if kind == 'link':
        elsewhere.write_text('mine')
    assert contents(out) == []
    assert elsewhere.exists() == (kind == 'link')
    assert kind != 'link' or elsewhere.read_text() == 'mine'
