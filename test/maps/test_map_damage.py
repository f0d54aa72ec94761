# SPDX-License-Identifier: Apache-2.0
"""Damaged, hostile and racing maps at random: refused in one line, or without any effect.

The counts come from MAP_TRIES (1 in CI): 10 makes ten times as many, spread over all bits.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import random
import struct
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
import yaml
from conftest import line_of, places_along_x, unit_rows
from map_fixtures import LOCAL, TRIES, local_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import reading as files
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.recognition.recogniser import Matcher

pytest_plugins = ['map_fixtures']


def contents(folder: Path) -> tuple:
    """All that a map says."""
    loaded = PlaceMap.load(folder)
    rows = loaded.index.rows(range(len(loaded.places)))
    local = loaded.local.rows(range(5)).tobytes()
    return loaded.places, loaded.info, rows.tobytes(), local


def one_line(error: VprError) -> bool:
    text = str(error)
    return bool(text) and text.isprintable()


def test_no_flipped_bit_is_accepted_with_other_contents(rich: Path):
    whole, choose, refused, without_effect = contents(rich), random.Random(1), 0, 0
    for file in sorted(p for p in rich.rglob('*') if p.is_file()):
        data = file.read_bytes()
        most = 6360 if file.name == 'map.yaml' else 500
        bits = range(8 * len(data))
        for bit in choose.sample(bits, min(len(bits), math.ceil(most * TRIES / 4))):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            try:
                assert contents(rich) == whole, (file, bit)
                PlaceMap.load(rich, pictures=True)
                without_effect += 1
            except VprError as error:
                assert one_line(error), (file, bit)
                refused += 1
        file.write_bytes(data)
    print(f'{refused} flips refused, {without_effect} without effect')
    assert refused > 1000 * min(1, TRIES) and without_effect == 0


def test_no_flip_in_a_map_of_the_first_format_ends_in_a_traceback(rich: Path):
    """It has no checksum of map.yaml: what it says is still checked by type and range."""
    as_first_format(rich, yaml.safe_load((rich / 'map.yaml').read_bytes()))
    data, choose = (rich / 'map.yaml').read_bytes(), random.Random(2)
    query = np.eye(4, dtype=np.float32)[0]
    for bit in choose.sample(range(8 * len(data)), math.ceil(300 * TRIES)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (rich / 'map.yaml').write_bytes(flipped)
        try:
            assert 0.0 <= Matcher(PlaceMap.load(rich)).match(query)[0].confidence <= 1.0, bit
        except VprError as error:
            assert one_line(error), bit


def as_first_format(folder: Path, values: object) -> None:
    if isinstance(values, dict):
        values = {**values, 'format_version': values.get('format_version', 1)}
        values.pop('checksum', None)
        if values['format_version'] == 4:
            values['format_version'] = 1
            if isinstance(values['sha256'], dict):
                sums = {k: v for k, v in values['sha256'].items() if k != 'places.npz'}
                values['sha256'] = sums
    (folder / 'map.yaml').write_text(yaml.safe_dump(values, sort_keys=False))


def sealed(folder: Path, values: object) -> None:
    if isinstance(values, dict):
        values = {k: v for k, v in values.items() if k != 'checksum'}
    data = yaml.safe_dump(values, sort_keys=False).encode()
    line = f'checksum: {hashlib.sha256(data).hexdigest()}\n'
    (folder / 'map.yaml').write_bytes(data + line.encode())


# --- hostile maps, all checksums right

STRANGE = [None, [], {}, '', 'x', -1, 0, 1.5, True, math.nan, math.inf, 2**70, [[]], {'a': []}]
STRANGE += ['\x1b[2J', 'a\nb', [None], {'lat': math.nan, 'lon': 0, 'alt': 0}, ['x'], {1: 2}]


def paths_of(values: object, path: tuple = ()) -> list[tuple]:
    """Every place in nested tables and lists."""
    found = [path] if path else []
    if isinstance(values, dict):
        items = list(values.items())
    else:
        items = list(enumerate(values)) if isinstance(values, list) else []
    for key, value in items:
        found += paths_of(value, (*path, key))
    return found


def replaced(values: object, path: tuple, new: object) -> object:
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[path[0]] = new if len(path) == 1 else replaced(values[path[0]], path[1:], new)
    return copy


def with_sum(folder: Path, name: str, data: bytes, write) -> None:
    (folder / name).write_bytes(data)
    values = yaml.safe_load((folder / 'map.yaml').read_bytes())
    values['sha256'][name] = hashlib.sha256(data).hexdigest()
    write(folder, values)


@pytest.mark.parametrize('write', [sealed, as_first_format])
def test_hostile_descriptions_with_right_checksums_end_in_a_line_or_in_sense(rich: Path, write):
    values = yaml.safe_load((rich / 'map.yaml').read_bytes())
    values.pop('checksum')
    tried = accepted = 0
    for path in paths_of(values):
        for new in random.Random(str(path)).sample(STRANGE, math.ceil(6 * min(TRIES, 3))):
            write(rich, replaced(values, path, new))
            tried += 1
            try:
                loaded = PlaceMap.load(rich)
                best = Matcher(loaded).match(np.eye(4, dtype=np.float32)[0])[0]
                assert 0.0 <= best.confidence <= 1.0 and math.isfinite(best.confidence)
                assert isinstance(loaded.info.frame, str)
                assert all(isinstance(t['source'], str) for t in loaded.traverses)
                accepted += 1
            except VprError as error:
                assert one_line(error), (path, new)
    print(f'{tried} hostile descriptions, {accepted} accepted as harmless')
    assert tried > 150 and accepted < tried / 2


def hostile_tables(rng: random.Random, text: str) -> list[bytes]:
    lines = text.splitlines()
    bad = ['nan', 'inf', '-1', '1e300', 'x', '', '9' * 400, '1.5', '\x1b[2J', '0x1', '"', '1_0']
    made = []
    for _ in range(math.ceil(150 * TRIES)):
        row, cells = rng.randrange(1, len(lines)), None
        cells = lines[row].split(',')
        column = rng.randrange(len(cells))
        cells[column] = rng.choice(bad)
        made.append('\n'.join([*lines[:row], ','.join(cells), *lines[row + 1 :]]) + '\n')
    made += [lines[0] + '\n', '', lines[0].replace('id', 'id,id', 1) + '\n' + '\n'.join(lines[1:])]
    made.append('\n'.join([lines[0], *reversed(lines[1:])]) + '\n')
    made.append('\n'.join([lines[0], *lines[1:], lines[1]]) + '\n')
    return [m.encode() for m in made] + [b'\xff\xfe' * 50, text.encode()[:-9], b'\0' * 99]


def test_hostile_tables_with_right_checksums_end_in_a_line_or_in_sense(rich: Path):
    tables = hostile_tables(random.Random(3), (rich / 'places.csv').read_text())
    accepted = 0
    for data in tables:
        with_sum(rich, 'places.csv', data, sealed)
        try:
            places = PlaceMap.load(rich, pictures=True).places
        except VprError as error:
            assert one_line(error), data
            continue
        accepted += 1
        assert [p.id for p in places] == list(range(5))
        for p in places:
            numbers = [p.stamp / 1e12, *(p.geo or ()), *(vars(p.pose).values() if p.pose else ())]
            assert all(math.isfinite(n) and abs(n) <= 1e8 for n in numbers), data
    print(f'{len(tables)} hostile tables, {accepted} accepted')
    assert accepted < len(tables)


def hostile_indexes() -> dict[str, bytes]:
    rows, nan = unit_rows(5, 4), unit_rows(5, 4)
    nan[2, 1] = np.nan

    def flat(rows: np.ndarray, kind=faiss.IndexFlatIP) -> faiss.Index:
        index = kind(rows.shape[1])
        index.add(np.ascontiguousarray(rows, np.float32))
        return index

    with_ids = faiss.IndexIDMap(faiss.IndexFlatIP(4))
    with_ids.add_with_ids(rows, np.arange(5)[::-1].copy())
    graph = faiss.IndexHNSWFlat(4, 8, faiss.METRIC_INNER_PRODUCT)
    graph.add(rows)
    indexes = {
        'not of length 1': flat(2 * rows),
        'one row of zeros': flat(rows * [[1], [1], [0], [1], [1]]),
        'not finite': flat(nan),
        'huge': flat(rows * np.float32(1e38)),
        'by distance': flat(rows, faiss.IndexFlatL2),
        'ids of its own': with_ids,
        'a graph': graph,
        'too few': flat(rows[:4]),
        'too wide': flat(unit_rows(5, 8)),
        'empty': faiss.IndexFlatIP(4),
    }
    made = {name: faiss.serialize_index(index).tobytes() for name, index in indexes.items()}
    whole = faiss.serialize_index(flat(rows)).tobytes()
    for size in (2**31 - 1, 2**40, 2**63 - 1):
        made[f'a count of {size}'] = whole[:8] + struct.pack('<q', size) + whole[16:]
        made[f'a length of {size}'] = whole[:37] + struct.pack('<Q', size) + whole[45:]
    return made | {'longer': whole + b'x', 'shorter': whole[:-1], 'head': whole[:20]}


@pytest.mark.parametrize('case', hostile_indexes())
def test_hostile_indexes_with_right_checksums_are_refused(rich: Path, case: str):
    with_sum(rich, 'index.faiss', hostile_indexes()[case], sealed)
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    assert 'rebuild the map' in line_of(error)


def test_random_bytes_in_an_index_never_reach_faiss(rich: Path):
    whole, rng, refused = (rich / 'index.faiss').read_bytes(), random.Random(4), 0
    for _ in range(math.ceil(200 * TRIES)):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with_sum(rich, 'index.faiss', bytes(data), sealed)
        try:
            PlaceMap.load(rich)
        except VprError as error:
            refused += 1
            assert one_line(error)
    assert refused > 100 * TRIES


BOMBS = {
    'aliases': 'a: &a [x, x, x, x, x, x, x, x]\n'
    + ''.join(f'{c}: &{c} [{", ".join([f"*{b}"] * 9)}]\n' for b, c in pairwise('abcdefghi')),
    'deep lists': '[' * 100_000,
    'deep tables': 'a: ' + '{a: ' * 5000 + '1' + '}' * 5000,
    'long number': 'format_version: ' + '9' * 10_000,
    'python': 'a: !!python/object/apply:os.getcwd []',
    'not utf-8': b'\xff\xfeformat_version: 1',
    'two documents': 'a: 1\n---\nb: 2\n',
    'nul': 'format_version: 1\0',
    'sexagesimal': 'format_version: 1:1:1:1:1',
    'unhashable': '? [a]\n: 1\n? {b: 1}\n: 2\n',
}


@pytest.mark.parametrize('case', BOMBS)
def test_bombs_in_map_yaml_are_one_line_at_once(rich: Path, case: str):
    data = BOMBS[case]
    (rich / 'map.yaml').write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    line_of(error)


@pytest.mark.parametrize('name', ['map.yaml', 'index.faiss', 'places.csv'])
@pytest.mark.parametrize('kind', ['fifo', 'device', 'folder', 'loop', 'sparse'])
def test_what_is_no_regular_file_is_one_line_at_once(rich: Path, name: str, kind: str):
    file = rich / name
    file.unlink()
    if kind == 'fifo':
        os.mkfifo(file)
    elif kind == 'folder':
        file.mkdir()
    elif kind == 'sparse':
        with file.open('wb') as opened:
            opened.truncate(2**41)
    else:
        file.symlink_to('/dev/zero' if kind == 'device' else file)
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    known = (kind, name) == ('sparse', 'index.faiss')  # its size follows from map.yaml
    assert ('bytes, but 5' if known else 'cannot be read') in line_of(error)


@pytest.mark.parametrize('name', ['map.yaml', 'places.csv', 'index.faiss', 'local.npy'])
def test_what_gives_nothing_to_a_reader_that_does_not_wait_is_one_line(
    rich: Path, name: str, monkeypatch
):
    """As /proc/kmsg does, which is not read here: that would take messages from others."""
    monkeypatch.setattr(files, '_is_ready', lambda handle: False)
    (rich / name).write_bytes(b'')
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    assert name in line_of(error) and 'nothing to read now' in line_of(error)


# --- a load that races with saves


def save_for_ever(folder: Path, network, stop) -> None:
    sizes = 3, 40
    network.local = LOCAL
    maps = [
        PlaceMap.build(unit_rows(n, 4, n), places_along_x(range(n)), network, local=local_rows(n))
        for n in sizes
    ]
    while not stop.is_set():
        for made in maps:
            made.save(folder)


def test_a_load_that_races_with_saves_gets_one_of_the_maps(saved: Path, fake_network):
    fork = multiprocessing.get_context('fork')
    stop, loads = fork.Event(), {}
    saver = fork.Process(target=save_for_ever, args=(saved, fake_network, stop))
    saver.start()
    try:
        for _ in range(math.ceil(500 * TRIES)):
            loaded = PlaceMap.load(saved)
            count = len(loaded.places)
            assert len(loaded.index) == count
            if loaded.local is not None:
                assert loaded.local.rows(range(count)).tobytes() == local_rows(count).tobytes()
            loads[count] = loads.get(count, 0) + 1
    finally:
        stop.set()
        saver.join(20)
    print(f'loads by places: {loads}')
    assert loads.keys() <= {3, 6, 40} and len(loads) >= 2 and saver.exitcode == 0


# --- journals


def test_no_damage_of_a_journal_reaches_a_map(tmp_path: Path):
    rows, out, choose = unit_rows(12, 4), tmp_path / 'map', random.Random(5)
    cut = 0

    def opened() -> Journal:
        return Journal(out, {'key': 1}, 4)

    journal = opened()
    for i, row in enumerate(rows):
        if i % 2:
            journal.add_thumbnail(i, b'picture %d' % i)
        journal.add({'number': i, 'x': i / 7}, row)
    journal.flush()
    journal.close()
    before = {p: p.read_bytes() for p in journal.folder.rglob('*') if p.is_file()}
    for _ in range(math.ceil(150 * TRIES)):
        file = choose.choice([p for p, data in before.items() if data])
        data = bytearray(before[file])
        for _ in range(choose.randrange(1, 4)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        file.write_bytes(data)
        journal = opened()
        kept = list(journal.entries())
        assert kept == [{'number': i, 'x': i / 7} for i in range(len(kept))]
        if kept:
            assert journal.descriptors().tobytes() == rows[: len(kept)].tobytes()
        cut += len(kept) < 12
        journal.close()
        for path, whole in before.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(whole)
    assert cut > 100 * TRIES
