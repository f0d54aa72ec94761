# SPDX-License-Identifier: Apache-2.0
"""Local features of a map: plain numpy on the disk, read a place at a time, never wrong ones."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import line_of, places_along_x, unit_rows
from map_fixtures import LOCAL, local_rows
from test_place_map import consistent, edit

from ashtkd_ros.commands import map_info
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.npy import HEADER_BYTES
from ashtkd_ros.maps.local_file import LocalFeatures, local_header
from ashtkd_ros.maps.map_rows import LocalRows
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.local_features import LocalShape

pytest_plugins = ['map_fixtures']
ROWS = local_rows(5)


def build(network, count: int, local: object, shape: LocalShape | None = LOCAL) -> PlaceMap:
    network.local = shape
    return PlaceMap.build(unit_rows(count, 4), places_along_x(range(count)), network, local=local)


# --- what is written is what is read


def test_the_file_is_a_plain_array_of_numpy(rich: Path):
    array = np.load(rich / 'local.npy', allow_pickle=False)
    assert array.dtype == np.int8 and array.tobytes() == ROWS.tobytes()
    values = yaml.safe_load((rich / 'map.yaml').read_text())
    assert values['local'] == {'grid': [2, 3], 'channels': 4}


@pytest.mark.parametrize('count', [1, 9, 10**9, 2**40 - 1])
def test_the_header_has_always_the_same_length(count: int):
    header = local_header(count, LocalShape((1024, 16), 1024))
    assert len(header) == 128
    shape, fortran, kind = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    assert (shape, fortran, kind) == ((count, 2**14, 1024), False, np.int8)


@pytest.mark.parametrize('where', ['disk', 'memory'])
def test_places_are_read_by_their_ids_in_any_order(fake_network, rich: Path, where: str):
    local = PlaceMap.load(rich).local if where == 'disk' else build(fake_network, 5, ROWS).local
    assert (len(local), local.grid, local.channels) == (5, (2, 3), 4)
    for ids in ([3], [4, 0, 4], np.array([1, 2], np.int64), range(5), []):
        rows = local.rows(ids)
        assert rows.dtype == np.int8 and rows.shape == (len(ids), 6, 4)
        np.testing.assert_array_equal(rows, ROWS[np.array(ids, int)])
    rows[:] = 0
    local.rows([2])[:] = 0
    np.testing.assert_array_equal(local.rows([2]), ROWS[[2]])
    for ids in ([-1], [0, 5], [2**40]):
        with pytest.raises(VprError) as error:
            local.rows(ids)
        assert 'not among the 5' in line_of(error)


def test_a_map_is_saved_with_the_features_of_another_folder(rich: Path, tmp_path: Path):
    PlaceMap.load(rich).save(tmp_path / 'copy')
    assert (tmp_path / 'copy' / 'local.npy').read_bytes() == (rich / 'local.npy').read_bytes()
    PlaceMap.load(rich).save(rich)
    assert PlaceMap.load(rich).local.rows(range(5)).tobytes() == ROWS.tobytes()


def test_a_map_without_them_takes_the_file_of_the_map_before_away(fake_network, rich: Path):
    build(fake_network, 2, None).save(rich)
    loaded = PlaceMap.load(rich, fake_network)
    assert not (rich / 'local.npy').exists() and loaded.local is None and not loaded.warnings
    assert loaded.unverified == (
        'the map has no local features; answers are not verified; build the map anew'
    )


def printed_by_map_info(folder: Path, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as end:
        map_info.main([str(folder)])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_map_info_tells_sizes_and_whether_answers_can_be_verified(
    fake_network, rich: Path, capsys: pytest.CaptureFixture
):
    build(fake_network, 5000, np.tile(local_rows(50), (100, 1, 1))).save(rich)
    printed = printed_by_map_info(rich, capsys)
    assert '      local: 2 x 3 x 4 x int8, answers can be verified\n' in printed
    assert '    on disk: index 0.1 MB, local features 0.1 MB, pictures 0.0 MB\n' in printed
    build(fake_network, 5, None).save(rich)
    printed = printed_by_map_info(rich, capsys)
    assert '      local: the map has no local features; answers' in printed
    assert '    on disk: index 0.0 MB, pictures 0.0 MB\n' in printed


# --- features that do not fit the network or the places


WRONG = {
    'too few': ROWS[:4],
    'other type': ROWS.astype(np.int16),
    'float': ROWS / np.float32(127),
    'other length': local_rows(5, shape=LocalShape((2, 3), 5)),
    'flat': ROWS.reshape(5, 24),
    'half as long': ROWS // 2,
    'too few in memory': LocalFeatures(ROWS[:4], LOCAL),
    'other grid': LocalFeatures(ROWS, LocalShape((3, 2), 4)),
}


@pytest.mark.parametrize('case', WRONG)
def test_features_that_do_not_fit_make_no_map(fake_network, case: str):
    with pytest.raises(VprError) as error:
        build(fake_network, 5, WRONG[case])
    assert 'local features are not' in line_of(error)


def test_features_that_the_network_does_not_give_make_no_map(fake_network):
    with pytest.raises(VprError) as error:
        build(fake_network, 5, ROWS, shape=None)
    assert 'not those of 5 places, none of each' in line_of(error)


@pytest.mark.parametrize('shape', [None, LocalShape((3, 2), 4), LocalShape((2, 3), 5)], ids=str)
def test_a_map_whose_features_the_network_does_not_give_is_refused(
    rich: Path, fake_network, shape: LocalShape | None
):
    assert PlaceMap.load(rich, fake_network).local is not None
    fake_network.local = shape
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich, fake_network)
    line = f'2 x 3 x 4 numbers, the running model gives {shape or "none"}; rebuild the map'
    assert line_of(error).endswith(line)


# --- damage


def numpy_file(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def same_length(array: np.ndarray) -> bytes:
    """A file of numpy, as long as that of ROWS: only its header tells what it is."""
    return numpy_file(array)[:128].ljust(128) + ROWS.tobytes()


INSIDE = {
    'other places': (numpy_file(ROWS[:4]), 'has 224 bytes, but 5 places of 2 x 3 x 4 numbers'),
    'other channels': (numpy_file(np.zeros((5, 6, 5), np.int8)), 'it is cut off, or of another'),
    'pickled': (numpy_file(np.array([{}, 1], object)), 'it is cut off, or of another map'),
    'longer': (local_header(5, LOCAL) + ROWS.tobytes() + b'x', 'has 249 bytes'),
    'empty': (b'', 'has 0 bytes'),
    'other type': (same_length(ROWS.view(np.uint8)), 'is not an int8 array of 5 places'),
    'other order': (same_length(np.asfortranarray(ROWS)), 'is not an int8 array of 5 places'),
    'other shape': (same_length(ROWS.reshape(5, 3, 8)), 'is not an int8 array of 5 places'),
    'objects': (same_length(np.zeros((5, 6, 4), object)[:0]), 'is not an int8 array'),
    'no header': (b'x' * 128 + ROWS.tobytes(), 'is not an int8 array of 5 places'),
    'nothing': (local_header(5, LOCAL) + bytes(120), 'features of place 0 that are not of length'),
    'last one': (
        local_header(5, LOCAL) + ROWS.tobytes()[:-4] + b'\x7f' * 4,
        'features of place 4 that are not of length 1',
    ),
}


@pytest.mark.parametrize('case', INSIDE)
def test_another_array_with_the_right_checksum_is_refused(rich: Path, case: str):
    data, expected = INSIDE[case]
    consistent(rich, 'local.npy', data)
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    line = line_of(error)
    assert expected in line and line.startswith(f'{rich / "local.npy"}: ')
    assert line.endswith('rebuild the map')


def test_the_features_of_another_map_are_refused(rich: Path, fake_network, tmp_path: Path):
    build(fake_network, 5, local_rows(5, seed=1)).save(tmp_path / 'other')
    os.replace(tmp_path / 'other' / 'local.npy', rich / 'local.npy')
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    assert 'local.npy: is damaged, its checksum differs from map.yaml' in line_of(error)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_sparse(path: Path) -> None:
    os.truncate(path, 2**41)


def make_device(path: Path) -> None:
    path.unlink()
    path.symlink_to('/dev/zero')


@pytest.mark.parametrize('spoil', [Path.unlink, make_fifo, make_sparse, make_device])
def test_a_missing_or_odd_file_is_one_line_at_once(rich: Path, spoil):
    spoil(rich / 'local.npy')
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    expected = 'has 2199023255552 bytes' if spoil is make_sparse else 'cannot be read ('
    assert f'local.npy: {expected}' in line_of(error)


def test_a_description_names_both_or_neither(rich: Path):
    values = yaml.safe_load((rich / 'map.yaml').read_text())
    sums = {n: s for n, s in values['sha256'].items() if n != 'local.npy'}
    shapes = [{'grid': [2, 3]}, {'grid': [2, 3], 'channels': 2**40}, {'grid': [0, 3]}, [2, 3, 4]]
    changes = [{'local': None}, {'sha256': sums}, *({'local': shape} for shape in shapes)]
    for change in (*changes, {'local': {'grid': [1024, 1024], 'channels': 4096}}):
        edit(rich, **{**values, **change})
        with pytest.raises(VprError) as error:
            PlaceMap.load(rich)
        assert 'map.yaml is incomplete' in line_of(error)


# --- the file changes while the map is in use


def truncated(path: Path) -> None:
    os.truncate(path, 130)


def emptied(path: Path) -> None:
    path.write_bytes(b'')


def overwritten(path: Path) -> None:
    path.write_bytes(local_header(5, LOCAL) + local_rows(5, seed=1).tobytes())
    os.utime(path, ns=(1, 1))  # a clock that ticks slowly would show the time of the save


def longer(path: Path) -> None:
    with path.open('ab') as file:
        file.write(b'x')


@pytest.mark.parametrize('change', [truncated, emptied, overwritten, longer])
def test_a_file_that_is_changed_in_place_is_an_error_and_no_features(rich: Path, change):
    local = PlaceMap.load(rich).local
    change(rich / 'local.npy')
    for ids in ([0], [4]):
        with pytest.raises(VprError) as error:
            local.rows(ids)
        assert f'{rich / "local.npy"}: cannot be read any more (it ' in line_of(error)


@pytest.mark.parametrize('gone', ['saved over', 'removed', 'moved'])
def test_a_map_that_is_replaced_goes_on_with_its_own_features(
    rich: Path, fake_network, tmp_path: Path, gone: str
):
    local = PlaceMap.load(rich).local
    if gone == 'saved over':
        build(fake_network, 5, local_rows(5, seed=1)).save(rich)
    elif gone == 'removed':
        (rich / 'local.npy').unlink()
    else:
        rich.rename(tmp_path / 'elsewhere')
    assert local.rows([2, 0]).tobytes() == ROWS[[2, 0]].tobytes()


def test_a_failing_disk_is_one_line(rich: Path, monkeypatch: pytest.MonkeyPatch):
    local = PlaceMap.load(rich).local

    def failing(*_: object) -> int:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, 'pread', failing)
    monkeypatch.setattr(os, 'preadv', failing)
    for action, expected in (
        (lambda: local.rows([1]), 'cannot be read any more (Input/output error); load the map'),
        (lambda: PlaceMap.load(rich), 'cannot be read (Input/output error); rebuild the map'),
    ):
        with pytest.raises(VprError) as error:
            action()
        assert expected in line_of(error)


def test_rows_that_follow_each_other_are_read_at_once(rich: Path, monkeypatch):
    local, read, calls = PlaceMap.load(rich).local, os.pread, []
    monkeypatch.setattr(os, 'pread', lambda *given: calls.append(given) or read(*given))
    wanted = [2, 3, 4, 0, 1, 1, 3]
    assert local.rows(wanted).tobytes() == ROWS[wanted].tobytes()
    assert len(calls) == 4
    parts = list(local.parts(wanted, 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert np.concatenate(parts).tobytes() == ROWS[wanted].tobytes()
    with pytest.raises(VprError, match='not among the 5'):
        list(local.parts([0, 5], 1))


@pytest.mark.parametrize('joined', [False, True])
def test_behind_the_first_part_the_disk_is_asked_for_all_others_at_once(
    rich: Path, monkeypatch, joined
):
    local, read, calls = PlaceMap.load(rich).local, os.pread, []
    local = LocalRows([(local, np.arange(5))]) if joined else local
    row = lambda start: (start - HEADER_BYTES) // ROWS[0].size  # noqa: E731
    monkeypatch.setattr(os, 'posix_fadvise', lambda _, start, *rest: calls.append(-row(start)))
    monkeypatch.setattr(os, 'pread', lambda *x: calls.append(row(x[2])) or read(*x))
    parts = local.parts([2, 4, 1, 3], 1)
    assert next(parts).tobytes() == ROWS[2].tobytes() and calls == [-2, 2, -4, -1, -3]
    assert next(parts).tobytes() == ROWS[4].tobytes() and calls[5:] == [4]
    assert next(parts).tobytes() == ROWS[1].tobytes() and calls[6:] == [1]


def test_short_reads_are_continued(rich: Path, monkeypatch: pytest.MonkeyPatch):
    read, into_place = os.pread, os.preadv
    monkeypatch.setattr(os, 'pread', lambda h, size, at: read(h, min(size, 7), at))
    monkeypatch.setattr(os, 'preadv', lambda h, into, at: into_place(h, [into[0][:7]], at))
    assert PlaceMap.load(rich).local.rows([3, 1]).tobytes() == ROWS[[3, 1]].tobytes()


# --- what it costs


def test_no_file_stays_open_after_the_map_is_gone(rich: Path):
    gc.collect()  # an error that was caught knows the frames that it came through
    before = len(os.listdir('/proc/self/fd'))
    kept = PlaceMap.load(rich)
    assert len(os.listdir('/proc/self/fd')) == before + 1
    del kept
    os.truncate(rich / 'local.npy', 9)
    for _ in range(3):
        with pytest.raises(VprError):
            PlaceMap.load(rich)
    assert len(os.listdir('/proc/self/fd')) == before


def test_threads_may_read_at_the_same_time(rich: Path):
    local, wrong = PlaceMap.load(rich).local, []

    def read(seed: int) -> None:
        for ids in np.random.default_rng(seed).integers(0, 5, (200, 3)):
            if not np.array_equal(local.rows(ids), ROWS[ids]):
                wrong.append(ids)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_does_not_grow_with_the_number_of_places(fake_network, tmp_path: Path):
    """16 MB of features are loaded, read and saved again with a few."""
    shape = LocalShape((16, 16), 64)
    local = np.tile(local_rows(4, shape=shape), (256, 1, 1))
    build(fake_network, 1024, local, shape).save(tmp_path / 'map')
    del local
    tracemalloc.start()
    try:
        loaded = PlaceMap.load(tmp_path / 'map', fake_network)
        loaded.save(tmp_path / 'copy')
        for first in range(0, 1000, 20):
            loaded.local.rows(range(first, first + 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6
    digest = hashlib.sha256((tmp_path / 'copy' / 'local.npy').read_bytes()).hexdigest()
    assert digest in (tmp_path / 'map' / 'map.yaml').read_text()
