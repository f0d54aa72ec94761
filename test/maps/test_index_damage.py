# SPDX-License-Identifier: Apache-2.0
"""Files of an index that are damaged, crafted, or of another map: one line names the file.

FAISS ends the process where it believes a wrong number, so that these tests end with it.
"""

from __future__ import annotations

import gc
import hashlib
import math
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
import yaml
from conftest import line_of, unit_rows
from index_fixtures import crowded_rows
from map_fixtures import TRIES
from test_map_damage import STRANGE, replaced, sealed, with_sum
from test_place_map import edit

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.maps.folder import check_target, holds_map
from ashtkd_ros.maps.index_kinds import COMPRESSED
from ashtkd_ros.maps.index_layout import check_layout
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['index_fixtures']
ROWS = crowded_rows(200, 16)
FILES = ['index.faiss', 'descriptors.npy']


@pytest.fixture(params=COMPRESSED)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(save_map, kind: str) -> Path:
    return save_map(kind, ROWS)


def refused(folder: Path) -> str:
    with pytest.raises(VprError) as error:
        PlaceMap.load(folder)
    return line_of(error)


# --- damage


@pytest.mark.parametrize('name', FILES)
def test_no_flipped_bit_is_accepted(folder: Path, name: str):
    data, choose = (folder / name).read_bytes(), random.Random(1)
    for bit in choose.sample(range(8 * len(data)), math.ceil(100 * TRIES)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(flipped)
        assert f'{folder / name}: is damaged, its checksum' in refused(folder)


@pytest.mark.parametrize('name', FILES)
def test_a_file_that_is_cut_off_longer_or_missing_is_refused(folder: Path, name: str):
    path, data = folder / name, (folder / name).read_bytes()
    for wrong in (b'', data[:20], data[:-1], data + b'x'):
        path.write_bytes(wrong)
        assert refused(folder).startswith(f'{path}: ')
    path.unlink()
    assert f'{path}: cannot be read' in refused(folder)
    os.mkfifo(path)
    assert f'{path}: cannot be read' in refused(folder)


@pytest.mark.parametrize('name', FILES)
def test_the_file_of_another_map_is_refused(folder: Path, save_map, kind: str, name: str):
    other = save_map(kind, crowded_rows(200, 16, seed=5), 'other')
    assert (other / name).read_bytes() != (folder / name).read_bytes()
    shutil.copyfile(other / name, folder / name)
    assert f'{folder / name}: is damaged, its checksum' in refused(folder)


def test_a_huge_index_is_not_read(folder: Path):
    os.truncate(folder / 'index.faiss', 2**41)
    assert 'index.faiss: cannot be read (it holds more than' in refused(folder)


# --- all checksums right


def test_another_kind_in_map_yaml_is_refused(folder: Path, kind: str):
    for other in set(COMPRESSED) - {kind}:
        edit(folder, index=other)
        if (kind, other) == ('fp16', 'pq'):
            continue  # see the next test
        assert f'index.faiss: is not an index of kind {other} of 200 places' in refused(folder)
    for other in ('IndexFlatIP', 'flat', 'IndexPQ', 3, None, ['pq']):
        edit(folder, index=other)
        assert 'map.yaml is incomplete' in refused(folder)


def test_a_pq_map_of_version_0_9_2_is_read_as_it_was(save_map):
    """It has the rougher codes alone, as fp16 has."""
    folder = save_map('fp16', ROWS)
    expected = PlaceMap.load(folder).index.search(ROWS, 20)[1]
    edit(folder, index='pq')
    index = PlaceMap.load(folder).index
    assert index.kind == 'pq' and isinstance(index.index, faiss.IndexPQFastScan)
    np.testing.assert_array_equal(index.search(ROWS, 20)[1], expected)


def test_counts_that_differ_are_refused(folder: Path):
    for change in ({'places': 199}, {'places': 201}, {'places': 2**39}, {'descriptor_size': 15}):
        values = yaml.safe_load((folder / 'map.yaml').read_text())
        edit(folder, **change)
        refused(folder)
        edit(folder, **{key: values[key] for key in change})
    assert PlaceMap.load(folder).places


@pytest.mark.parametrize(
    ('count', 'size'), [(199, 16), (201, 16), (200, 15), (200, 17), (100, 32), (400, 8)]
)
def test_an_index_of_another_size_is_refused(folder: Path, save_map, kind: str, count, size):
    other = save_map(kind, crowded_rows(count, size), 'other')
    # Bits come in bytes: those of 15 numbers look like those of 16.
    for name in FILES[(kind, size) == ('binary', 15) :]:
        with_sum(folder, name, (other / name).read_bytes(), sealed)
        assert refused(folder).startswith(f'{folder / name}: ')
        shutil.rmtree(folder)
        save_map(kind, ROWS)


def test_random_bytes_with_right_checksums_are_refused_or_do_no_harm(folder: Path):
    """Also where FAISS reads them: whatever is found are places of the map, exactly compared."""
    whole, rng, harmless = (folder / 'index.faiss').read_bytes(), random.Random(4), 0
    tries = math.ceil(300 * TRIES)
    for turn in range(tries):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(data) if turn % 2 else min(len(data), 400))
            data[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        with_sum(folder, 'index.faiss', bytes(data), sealed)
        try:
            loaded = PlaceMap.load(folder)
        except VprError as error:
            assert str(error).startswith(f'{folder / "index.faiss"}: is not an index of kind')
            continue
        harmless += 1
        similarities, found = loaded.index.search(ROWS[:20], 10)
        assert found.min() >= 0 and found.max() < 200
        exact = np.take_along_axis(ROWS[:20] @ ROWS.T, found, axis=1)
        np.testing.assert_allclose(similarities, exact, rtol=0, atol=2.0**-11)
    assert 0 < harmless < tries


def without(data: bytes, at: int, layout: str, *values: object) -> bytes:
    raw = np.array(values, layout).tobytes()
    return data[:at] + raw + data[at + len(raw) :]


def graph_arrays(data: bytes, count: int) -> dict[str, int]:
    """Where the arrays of a graph begin in the bytes of its index."""
    at, found = 37, {}
    for name, size in (('chances', 8), ('ends', 4), ('levels', 4), ('offsets', 8), ('links', 4)):
        length = int(np.frombuffer(data, '<u8', 1, at)[0])
        found[name] = at + 8
        at += 8 + size * length
    found['entry'] = at
    return found


def test_a_graph_with_links_that_lead_nowhere_is_refused(save_map):
    folder = save_map('hnsw', ROWS)
    data = (folder / 'index.faiss').read_bytes()
    at = graph_arrays(data, 200)
    levels = np.frombuffer(data, '<i4', 200, at['levels'])
    offsets = np.frombuffer(data, '<u8', 201, at['offsets'])
    high, low = int(levels.argmax()), int(levels.argmin())
    assert levels[high] > 1 == levels[low]
    upper = at['links'] + 4 * (int(offsets[high]) + 32)  # of the level above the ground
    crafted = {
        'beyond the end': without(data, at['links'], '<i4', 200),
        'far away': without(data, at['links'], '<i4', 2**31 - 1),
        'below none': without(data, at['links'], '<i4', -2),
        'off its level': without(data, upper, '<i4', low),
        'no level': without(data, at['levels'], '<i4', 0),
        'more levels': without(data, at['levels'], '<i4', 2**31 - 1),
        'a level more': without(data, at['levels'] + 4 * low, '<i4', 2),
        'another offset': without(data, at['offsets'] + 8, '<u8', 2**60),
        'no way in': without(data, at['entry'], '<i4', -1),
        'a way in elsewhere': without(data, at['entry'], '<i4', 200),
        'a low way in': without(data, at['entry'], '<i4', low),
        'another top': without(data, at['entry'] + 4, '<i4', 20),
        'no depth': without(data, at['entry'] + 12, '<i4', 0),
        'other ends': without(data, at['ends'] + 4, '<i4', 10**6),
    }
    for case, wrong in crafted.items():
        with_sum(folder, 'index.faiss', wrong, sealed)
        assert 'index of kind hnsw of 200 places, as map.yaml says: its graph' in refused(
            folder
        ), case


def test_other_indexes_of_faiss_are_refused(folder: Path):
    rows = unit_rows(200, 16)
    other = [faiss.IndexFlatIP(16), faiss.IndexHNSWFlat(16, 8), faiss.IndexPQ(16, 4, 4)]
    other += [faiss.IndexPQFastScan(16, 8, 4), faiss.IndexLSH(16, 16), faiss.IndexFlatL2(16)]
    for index in other:
        index.train(np.resize(rows, (700, 16)))
        index.add(rows)
        with_sum(folder, 'index.faiss', faiss.serialize_index(index).tobytes(), sealed)
        line = refused(folder)
        assert 'is not an index of kind' in line or 'holds more than' in line


def test_numbers_that_are_none_are_refused(folder: Path, kind: str):
    data = (folder / 'index.faiss').read_bytes()
    if kind == 'binary':
        pytest.skip('it has no numbers but bits')
    graph = len(data) - 16 * 200 - 8 - 2 * 16 * 4
    place = {'fp16': 69, 'pq': 37 + 69, 'sq8': 37 + 69, 'hnsw': graph}[kind]
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        with pytest.raises(ValueError, match='not finite or too large'):
            check_layout(kind, without(data, place, '<f4', bad), 200, 16)


def npy(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_other_arrays_with_right_checksums_are_refused(folder: Path):
    half, whole = ROWS.astype(np.float16), (folder / 'descriptors.npy').read_bytes()
    nan, zero = half.copy(), half.copy()
    nan[7, 3], zero[199] = np.nan, 0
    crafted = {
        'descriptor that is not of length 1': [
            whole[:128] + nan.tobytes(),
            whole[:128] + zero.tobytes(),
        ],
        'is not an float16 array': [
            npy(half.view(np.int16)),
            npy(np.asfortranarray(half)),
            b'x' * 128 + half.tobytes(),
        ],
        'it is cut off, or of another map': [npy(ROWS), npy(half[:5]), whole + b'x', b''],
    }
    for expected, files in crafted.items():
        for data in files:
            with_sum(folder, 'descriptors.npy', data, sealed)
            line = refused(folder)
            assert line.startswith(f'{folder / "descriptors.npy"}: ') and expected in line


@pytest.mark.parametrize('key', ['why', 'recall', 'queries', 'shortlist', None, 'more'])
def test_strange_values_of_the_search_are_refused(save_map, key: str | None):
    folder = save_map('pq', ROWS)
    values = yaml.safe_load((folder / 'map.yaml').read_text())
    for strange in [*STRANGE, 2**17, 1.1, -0.1, 'x' * 5000]:
        path = ('search',) if key is None else ('search', key)
        same = key == 'more' or values['search'] if key is None else values['search'].get(key)
        sealed(folder, replaced(values, path, strange))
        if type(strange) is type(same) and key == 'why' and 0 < len(strange) < 99:
            continue
        if key == 'recall' and type(strange) in (int, float) and 0 <= strange <= 1:
            continue
        if key == 'queries' and type(strange) is int and 0 <= strange <= 2**17:
            continue
        assert 'map.yaml is incomplete' in refused(folder), strange


def test_only_one_of_the_two_files_in_map_yaml_is_refused(save_map):
    folder = save_map('pq', ROWS)
    values = yaml.safe_load((folder / 'map.yaml').read_text())
    sums = {n: s for n, s in values['sha256'].items() if n != 'descriptors.npy'}
    for change in ({'sha256': sums}, {'search': None}, {'index': 'IndexFlatIP', 'search': None}):
        edit(folder, **{**values, **change})
        assert 'map.yaml is incomplete' in refused(folder)
    edit(folder, **{**values, 'search': {**values['search'], 'shortlist': 0}})
    assert 'shortlist of search is not that of an index of kind pq' in refused(folder)


# --- while the map is in use


def overwritten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(1, 1))  # a clock that ticks slowly would show the time of the save


@pytest.mark.parametrize('change', [lambda p: os.truncate(p, 130), overwritten])
def test_descriptors_that_change_in_place_are_an_error(folder: Path, kind: str, change: Callable):
    loaded = PlaceMap.load(folder)
    before = loaded.search(ROWS[0], 5)
    change(folder / 'descriptors.npy')
    if kind == 'fp16':  # it has them in memory
        np.testing.assert_array_equal(loaded.search(ROWS[0], 5), before)
        return
    for use in (lambda: loaded.search(ROWS[0], 5), lambda: loaded.index.rows([199])):
        with pytest.raises(VprError) as error:
            use()
        assert f'{folder / "descriptors.npy"}: cannot be read any more (it' in line_of(error)


def test_a_map_that_is_replaced_goes_on_with_its_own_descriptors(folder: Path, save_map):
    loaded = PlaceMap.load(folder)
    before = loaded.search(ROWS[0], 5)
    save_map('flat', unit_rows(3, 16))
    np.testing.assert_array_equal(loaded.search(ROWS[0], 5), before)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(loaded.search(ROWS[0], 5), before)


def test_no_file_stays_open_after_the_map_is_gone(folder: Path, kind: str):
    gc.collect()  # an error that was caught knows the frames that it came through
    before = len(os.listdir('/proc/self/fd'))
    kept = PlaceMap.load(folder)
    assert len(os.listdir('/proc/self/fd')) == before + (kind != 'fp16')
    del kept
    (folder / 'descriptors.npy').write_bytes(b'x')
    refused(folder)
    gc.collect()
    assert len(os.listdir('/proc/self/fd')) == before


def test_a_map_whose_description_is_lost_is_still_ours_to_replace(folder: Path):
    (folder / 'map.yaml').write_bytes(b'\xff\xfe damaged')
    assert holds_map(folder)
    check_target(folder)


def test_checksums_are_of_the_files(folder: Path):
    values = yaml.safe_load((folder / 'map.yaml').read_text())
    assert set(values['sha256']) == {*FILES, 'places.csv', 'places.npz'}
    for name in FILES:
        data = (folder / name).read_bytes()
        assert values['sha256'][name] == hashlib.sha256(data).hexdigest()
        assert values['sha256'][name] == sha256_of_file(folder / name)
