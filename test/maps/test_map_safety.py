# SPDX-License-Identifier: Apache-2.0
"""What is not a map's is never removed, and no other map is replaced unasked."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import write_bag
from conftest import line_of, places_along_x, unit_rows, write_tiny_model
from test_commands import call
from test_mapping import drive, map_options, opened

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping import build as mapping
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.maps.folder import check_target
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

NAV2 = 'image: map.pgm\nresolution: 0.05\norigin: [0, 0, 0]\nnegate: 0\noccupied_thresh: 0.65\n'
NO_MAPS_OF_OURS = {
    'of nav2': NAV2,
    'of another map': 'format_version: 1\nframe: map\n',
    'a list': '- 1\n- 2\n',
    'text': 'hello',
    'empty': '',
    'broken': 'a: [1',
    'aliases': 'a: &a [1]\nb: *a\n',
}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture(scope='module')
def tiny(model: Path) -> Embedder:
    return Embedder(model, num_threads=1)


def other(fake_network, count: int = 2) -> PlaceMap:
    return PlaceMap.build(unit_rows(count, 4, seed=9), places_along_x(range(count)), fake_network)


def last_line(capsys: pytest.CaptureFixture) -> str:
    """The error, after notes about the sources."""
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('error: ')
    return line


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


# --- folders of others


@pytest.mark.parametrize('case', NO_MAPS_OF_OURS)
def test_a_folder_with_a_map_yaml_of_others_is_refused_and_kept(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture, case: str
):
    maps = tmp_path / 'maps'
    maps.mkdir()
    (maps / 'map.yaml').write_text(NO_MAPS_OF_OURS[case])
    (maps / 'map.pgm').write_bytes(b'P5 ...')
    bag = write_bag(maps / 'walk', records=drive('rgb'))
    before = tree(maps)
    assert call('build_map', bag, '-o', maps, '--model', model, '--replace') == 1
    assert 'is not a map of build_map; give another folder' in last_line(capsys)
    assert tree(maps) == before and [p.name for p in tmp_path.iterdir()] == ['maps']


def test_nav2s_map_saved_over_ours_makes_the_folder_the_users(saved: Path, fake_network):
    (saved / 'map.yaml').write_text(NAV2)
    before = tree(saved)
    with pytest.raises(VprError) as error:
        other(fake_network).save(saved)
    assert 'is not a map of build_map' in line_of(error) and tree(saved) == before


@pytest.mark.parametrize('damage', ['cut', 'flip', 'empty', 'binary'])
def test_a_damaged_map_of_ours_can_be_rebuilt_in_its_place(saved: Path, fake_network, damage: str):
    data = (saved / 'map.yaml').read_bytes()
    damaged = {'cut': data[:40], 'flip': data.replace(b': ', b':\x01', 1), 'empty': b''}
    (saved / 'map.yaml').write_bytes(damaged.get(damage, b'\xff\0' * 30))
    with pytest.raises(VprError):
        PlaceMap.load(saved)
    other(fake_network).save(saved)
    assert len(PlaceMap.load(saved).places) == 2


def test_files_of_the_user_stay_in_a_map_that_is_replaced(
    saved: Path, fake_network, tmp_path: Path
):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'photo.jpg').write_bytes(b'precious')
    for name in ('map.pgm', 'notes/a/b.txt', 'thumbnails/mine.png', 'thumbnails/12.jpg'):
        (saved / name).parent.mkdir(parents=True, exist_ok=True)
        (saved / name).write_bytes(name.encode())
    (saved / 'thumbnails' / '000001.jpg').write_bytes(b'of the map')
    (saved / 'link').symlink_to(tmp_path / 'elsewhere')
    os.mkfifo(saved / 'fifo')
    for count in (2, 3):
        other(fake_network, count).save(saved)
        left = tree(saved)
        assert len(PlaceMap.load(saved).places) == count
        for name in ('map.pgm', 'notes/a/b.txt', 'thumbnails/mine.png', 'thumbnails/12.jpg'):
            assert left[name] == name.encode()
        assert 'thumbnails/000001.jpg' not in left
        assert (saved / 'link').is_symlink() and (saved / 'fifo').exists()
        assert (tmp_path / 'elsewhere' / 'photo.jpg').read_bytes() == b'precious'
        assert sorted(p.name for p in tmp_path.iterdir()) == ['elsewhere', 'map']


def test_a_users_file_in_the_way_of_a_map_s_is_an_error_before_anything_happens(
    saved: Path, fake_network, tmp_path: Path
):
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / '000000.jpg').write_bytes(b'new')
    (tmp_path / 'precious').mkdir()
    (saved / 'thumbnails').symlink_to(tmp_path / 'precious')
    before = checksums_of_files(saved)
    with pytest.raises(VprError) as error:
        other(fake_network).save(saved, tmp_path / 'pictures')
    assert 'thumbnails in it was not made by build_map; move it elsewhere' in line_of(error)
    assert checksums_of_files(saved) == before and not list((tmp_path / 'precious').iterdir())


def checksums_of_files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_strange_folders_are_one_line(built: PlaceMap, tmp_path: Path):
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'file').write_text('')
    cases = ['loop', 'loop/map', 'fifo', 'file', 'file/map', 'x' * 300, 'nul\0byte']
    for name in cases:
        for action in (built.save, PlaceMap.load):
            with pytest.raises(VprError) as error:
                action(tmp_path / name)
            line_of(error)


def test_what_is_named_like_our_leftovers_but_is_not_stays(built: PlaceMap, tmp_path: Path):
    names = ('.map.2024.new', '.map.2024.old', '.map.0123456789abcdef.old', '.map.backup.new')
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'mine').write_text(name)
    built.save(tmp_path / 'map')
    built.save(tmp_path / 'map')
    assert all((tmp_path / name / 'mine').read_text() == name for name in names)


# --- maps of other recordings


def test_a_map_of_other_recordings_is_replaced_only_on_request(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture
):
    day = write_bag(tmp_path / 'a', records=drive('rg', poses=False))
    dusk = write_bag(tmp_path / 'b', records=drive('gb', poses=False))
    out = tmp_path / 'maps' / 'day'
    rest = ['-o', out, '--model', model, '--max-blur', '1']
    assert call('build_map', day, *rest) == 0
    capsys.readouterr()
    before = checksums_of_files(out)
    for sources in ([dusk], [day, dusk], [dusk, day]):
        assert call('build_map', *sources, *rest) == 1
        line = last_line(capsys)
        assert f'is the map of {day.resolve()}' in line and '--replace' in line
        assert checksums_of_files(out) == before
    assert call('build_map', day, *rest, '--keyframes', 'all') == 0  # the same recording
    assert call('build_map', dusk, *rest, '--replace') == 0
    assert PlaceMap.load(out).traverses[0]['source'] == str(dusk.resolve())
    assert [p.name for p in out.parent.iterdir()] == ['day']


def test_a_damaged_map_tells_no_sources_and_is_replaced_only_on_request(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture
):
    bag, out = write_bag(tmp_path / 'a', records=drive('rg', poses=False)), tmp_path / 'map'
    rest = [bag, '-o', out, '--model', model, '--max-blur', '1']
    assert call('build_map', *rest) == 0
    (out / 'map.yaml').write_text((out / 'map.yaml').read_text().replace('map', 'mop', 1))
    capsys.readouterr()
    assert call('build_map', *rest) == 1 and '--replace' in last_line(capsys)
    assert call('build_map', *rest, '--replace') == 0 and PlaceMap.load(out).places


def test_a_journal_leaves_the_users_files_beside_it(tmp_path: Path, tiny: Embedder):
    bag, out = write_bag(tmp_path / 'a', records=drive('rg')), tmp_path / 'maps' / 'map'
    building = out.parent / '.map.building'
    (building / 'thumbnails').mkdir(parents=True)
    for name in ('mine.txt', 'thumbnails/mine.txt'):
        (building / name).write_text('precious')
    (building / 'build.json').write_text('{"model": "a", "options": {}}')  # an older build
    build_map(opened(bag), tiny, out, map_options(thumbnails=True))
    assert (building / 'mine.txt').read_text() == 'precious'
    assert (building / 'thumbnails' / 'mine.txt').read_text() == 'precious'
    assert PlaceMap.load(out).places


# --- what would fail in the end fails before the build


def no_build(*_: object) -> None:
    raise AssertionError('the build has begun')


@pytest.mark.parametrize('clash', ['route.png', 'thumbnails', 'thumbnails/000001.jpg'])
def test_a_thing_of_the_users_in_the_place_of_the_maps_stops_before_the_build(
    tmp_path: Path, tiny: Embedder, fake_network, clash: str, monkeypatch: pytest.MonkeyPatch
):
    out, bag = tmp_path / 'map', write_bag(tmp_path / 'b', records=drive('rr'))
    other(fake_network).save(out)
    if clash == 'thumbnails':
        (out / clash).write_text('mine')
    elif '/' in clash:
        (out / clash).mkdir(parents=True)
    else:
        (out / clash).mkdir()
    monkeypatch.setattr('ashtkd_ros.mapping.build.Builder.run', no_build)
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, out, MapOptions(replace=True))
    assert 'was not made by build_map; move it elsewhere' in line_of(error)
    assert (out / clash).exists()


@pytest.mark.parametrize('filled', [True, False])
def test_a_mount_point_is_refused_before_the_build(
    tmp_path: Path, fake_network, filled: bool, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / 'map'
    out.mkdir()
    if filled:
        other(fake_network).save(out)
    monkeypatch.setattr(os.path, 'ismount', lambda path: Path(path) == out.resolve())
    with pytest.raises(VprError) as error:
        check_target(out)
    assert 'is a mount point' in line_of(error) and f'{out}/map' in line_of(error)


def test_folders_that_cannot_be_written_are_refused_before_the_build(
    tmp_path: Path, fake_network, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / 'map'
    other(fake_network).save(out)
    (out / 'notes').mkdir()
    for closed, words in ((out, 'cannot be written'), (out / 'notes', 'cannot be moved')):
        with monkeypatch.context() as patch:

            def access(path: Path, mode: int, closed: Path = closed) -> bool:
                return Path(path) != closed or not mode & os.W_OK

            patch.setattr(os, 'access', access)
            with pytest.raises(VprError) as error:
                check_target(out)
        assert words in line_of(error)
    with pytest.raises(VprError) as error:
        check_target(tmp_path / ('x' * 240))
    assert 'longer than 230 bytes' in line_of(error)


def test_a_map_that_comes_while_another_is_built_is_not_replaced(
    tmp_path: Path, tiny: Embedder, fake_network, monkeypatch: pytest.MonkeyPatch
):
    out, bag = tmp_path / 'map', write_bag(tmp_path / 'b', records=drive('rr'))
    run = mapping.Builder.run

    def run_and_more(self, journal):
        run(self, journal)
        other(fake_network).save(out)

    monkeypatch.setattr(mapping.Builder, 'run', run_and_more)
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, out, map_options(replace=False))
    assert '--replace' in line_of(error) and len(PlaceMap.load(out).places) == 2


def test_other_roles_of_a_set_are_other_recordings(tmp_path: Path, tiny: Embedder):
    folder, out = tmp_path / 'set', tmp_path / 'map'
    folder.mkdir()
    rows = ['file,place,role,order']
    for i, role in enumerate(['database', 'query'] * 3):
        cv2.imwrite(str(folder / f'{i}.png'), np.full((20, 30, 3), 40 * i, np.uint8))
        rows.append(f'{i}.png,{i},{role},{i}')
    (folder / 'index.csv').write_text('\n'.join(rows) + '\n')

    def build(role: str, **options: object) -> None:
        traverse = open_traverse(folder, TraverseOptions(role=role))
        build_map([traverse], tiny, out, map_options('all', **{'replace': False, **options}))

    build('database')
    build('database')
    with pytest.raises(VprError) as error:
        build('query')
    assert '--replace' in line_of(error) and 'database' in line_of(error)
    build('query', replace=True)


# --- folders of others that are named as ours beside a map


@pytest.mark.parametrize('name', ['.map.20261101.old', '.map.1.new', '.map.3.lock', '.map.old'])
def test_backups_that_the_user_made_beside_a_map_stay(tmp_path: Path, fake_network, name: str):
    out = tmp_path / 'map'
    other(fake_network).save(tmp_path / name)
    (tmp_path / name / 'notes').write_text('mine')
    before = tree(tmp_path / name)
    with pytest.raises(VprError):
        PlaceMap.load(out)
    other(fake_network, 3).save(out)
    PlaceMap.load(out)
    assert tree(tmp_path / name) == before


@pytest.mark.parametrize('kind', ['folder', 'link', 'other json'])
def test_a_folder_of_the_users_named_as_a_journal_stays(tmp_path: Path, tiny: Embedder, kind: str):
    out, bag = tmp_path / 'map', write_bag(tmp_path / 'b', records=drive('rr'))
    mine = tmp_path / ('mine' if kind == 'link' else '.map.building')
    (mine / 'thumbnails').mkdir(parents=True)
    (mine / 'build.json').write_text('{"cmake": 1}' if kind == 'other json' else 'mine')
    (mine / 'thumbnails' / '000001.jpg').write_text('mine')
    if kind == 'link':
        (tmp_path / '.map.building').symlink_to(mine)
    before = tree(mine)
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, out, map_options())
    assert 'is a link' in line_of(error) or 'was not made by build_map' in line_of(error)
    assert tree(mine) == before
