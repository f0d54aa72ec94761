# SPDX-License-Identifier: Apache-2.0
"""Traverses become maps: which images, under which numbers, and the same after any stop."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import Record, fix, image, odometry, pose_stamped, write_bag
from conftest import line_of, write_tiny_model
from test_bags import spoil_message

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.mapping.keyframes import KeyframeOptions
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.frame import BACK
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import Traverse, TraverseOptions

START = 100.0
COLOURS = {'r': (255, 40, 40), 'g': (40, 255, 40), 'b': (40, 40, 255), 'k': (4, 4, 4)}


def tinted(number: int, colour: str, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Noise of one of COLOURS."""
    noise = np.random.default_rng(number).uniform(0.5, 1.0, (*size, 1))
    return (noise * COLOURS[colour]).astype(np.uint8)


def drive(colours: str, start: float = START, poses: bool = True) -> list[Record]:
    """An image each half second and half metre, of the colours in order; poses at 10 Hz."""
    records = [image(start + i / 2, tinted(i, c)) for i, c in enumerate(colours)]
    if poses:
        count = 5 * len(colours)
        records += [odometry(start + i / 10, Pose(i / 10, 0, 0)) for i in range(count)]
    return records


def opened(*paths: Path, **options: object) -> list[Traverse]:
    return [open_traverse(path, TraverseOptions(**options)) for path in paths]


def map_options(rule: str = 'auto', **options: object) -> MapOptions:
    """Keyframes that the tiny network's pictures of 6 x 8 pixels pass."""
    how = {'thumbnails': False, 'workers': 2, 'replace': True}
    how = {name: options.pop(name, default) for name, default in how.items()}
    return MapOptions(KeyframeOptions(rule, **{'max_blur': 1.0, **options}), **how)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file in a map."""
    files = sorted(p for p in folder.rglob('*') if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture(scope='session')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    model = tmp_path_factory.mktemp('tiny') / 'tiny.onnx'
    return Embedder(write_tiny_model(model, grid=(2, 4)), (), 1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'maps' / 'map'


def xs(place_map: PlaceMap) -> list[float]:
    return [round(p.pose.x, 3) for p in place_map.places]


# --- which images


def test_places_are_metres_apart(tmp_path: Path, tiny: Embedder, out: Path):
    bag = write_bag(tmp_path / 'b', records=drive('r' * 9))
    place_map, counts = build_map(opened(bag), tiny, out, map_options())
    assert xs(place_map) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert counts == {'images': 9, 'no new place': 4, 'lost in a damaged recording': 0}
    loaded = PlaceMap.load(out, tiny)
    assert loaded.places == place_map.places and [p.id for p in loaded.places] == list(range(5))
    assert [p.order for p in loaded.places] == [0, 2, 4, 6, 8]
    assert [p.stamp for p in loaded.places] == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert loaded.info.frame == 'odom'
    assert loaded.info.built['keyframes']['metres'] == 1.0
    assert sorted(p.name for p in out.iterdir()) == [
        'index.faiss',
        'local.npy',
        'map.yaml',
        'places.csv',
        'places.npz',
        'route.png',
    ]
    assert [p.name for p in out.parent.iterdir()] == ['map']


def test_a_turn_on_the_spot_makes_places(tmp_path: Path, tiny: Embedder, out: Path):
    def facing(degrees: float) -> Pose:
        half = np.radians(degrees) / 2
        return Pose(0, 0, 0, 0, 0, float(np.sin(half)), float(np.cos(half)))

    records = [image(START + i, tinted(i, 'r')) for i in range(7)]
    records += [odometry(START + i, facing(10 * i)) for i in range(7)]
    bag = write_bag(tmp_path / 'b', records=records)
    place_map, _ = build_map(opened(bag), tiny, out, map_options())
    assert [p.order for p in place_map.places] == [0, 2, 4, 6]


def test_without_poses_places_are_where_the_view_changes(
    tmp_path: Path, tiny: Embedder, out: Path
):
    bag = write_bag(tmp_path / 'b', records=drive('rrrggbrrr', poses=False))
    place_map, counts = build_map(opened(bag), tiny, out, map_options())
    assert [p.order for p in place_map.places] == [0, 3, 5, 6]
    assert counts['images'] == 9 and counts['no new place'] == 5
    assert all(p.pose is None for p in place_map.places) and not (out / 'route.png').exists()


def test_black_and_blurred_images_are_no_places_and_counted(
    tmp_path: Path, tiny: Embedder, out: Path
):
    records = drive('rkkr' * 2)
    flat = np.full((24, 32, 3), 128, np.uint8)
    records += [image(START + 10.2, flat), odometry(START + 12, Pose(50, 0, 0))]
    bag = write_bag(tmp_path / 'b', records=records)
    options = map_options(max_blur=0.99, metres=0.5)
    place_map, counts = build_map(opened(bag, max_pose_gap_s=20.0), tiny, out, options)
    assert [p.order for p in place_map.places] == [0, 3, 4, 7]
    assert (counts['nearly black'], counts['blurred']) == (4, 1)


def test_all_images_are_taken_on_request_and_of_folders(
    tmp_path: Path, tiny: Embedder, out: Path, town: Path
):
    bag = write_bag(tmp_path / 'b', records=drive('rkrk'))
    place_map, _ = build_map(opened(bag), tiny, out, map_options('all'))
    assert len(place_map.places) == 4
    place_map, _ = build_map(opened(town / 'day'), tiny, out, map_options())
    assert len(place_map.places) == 117 and place_map.places[3].source == 'images/0003.jpg'


def test_distances_need_poses(tmp_path: Path, tiny: Embedder, out: Path):
    bag = write_bag(tmp_path / 'b', records=drive('rr', poses=False))
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, out, map_options('distance'))
    assert 'has no poses' in line_of(error) and not out.parent.exists()


def test_what_cannot_be_used_is_counted_by_reason(tmp_path: Path, tiny: Embedder, out: Path):
    records = drive('r' * 12)
    records += [image(102.25, tinted(0, 'r'), encoding='strange')]
    records += [image(3.0, tinted(0, 'r'), received=103.3)]
    records += [image(200.0, tinted(0, 'r')), image(106.5, tinted(0, 'r'), received=110.0)]
    bag = spoil_message(write_bag(tmp_path / 'b', records=records), 3)
    place_map, counts = build_map(opened(bag), tiny, out, map_options(metres=0.2))
    assert len(place_map.places) == 11
    assert {k: n for k, n in counts.items() if n} == {
        'images': 16,
        'damaged message': 1,
        'unreadable: unknown encoding "strange"': 1,
        BACK: 1,
        'after the last pose': 2,
    }


def test_an_image_of_a_broken_clock_is_no_place_by_any_rule(
    tmp_path: Path, tiny: Embedder, out: Path
):
    records = [*drive('rgb'), image(3.0, tinted(0, 'r'), received=110.0)]
    bag = write_bag(tmp_path / 'b', records=records)
    for rule in ('all', 'change'):
        place_map, counts = build_map(opened(bag), tiny, out, map_options(rule))
        assert len(place_map.places) == 3
        assert counts[BACK] == 1


def test_images_of_changing_size_are_counted_and_used(tmp_path: Path, tiny: Embedder, out: Path):
    sizes = [(24, 32), (24, 32), (48, 32), (24, 32), (24, 32)]
    records = [image(START + i, tinted(i, 'r', size)) for i, size in enumerate(sizes)]
    bag = write_bag(tmp_path / 'b', records=records)
    place_map, counts = build_map(opened(bag), tiny, out, map_options('all'))
    assert len(place_map.places) == 5 and counts['changes of image size'] == 2


def test_grey_and_compressed_images_become_places(tmp_path: Path, tiny: Embedder, out: Path):
    picture = cv2.imencode('.jpg', tinted(0, 'r')[..., ::-1])[1].tobytes()
    for i, data in enumerate((picture, tinted(0, 'r')[..., 0].copy())):
        bag = write_bag(tmp_path / f'b{i}', records=[image(START, data)])
        options = map_options(thumbnails=True)
        place_map, _ = build_map(opened(bag), tiny, out, options)
        assert len(place_map.places) == 1
        assert cv2.imread(str(out / 'thumbnails' / '000000.jpg')).shape == (120, 160, 3)


def test_a_bag_with_nothing_of_use_is_refused_and_leaves_nothing(
    tmp_path: Path, tiny: Embedder, out: Path
):
    bag = write_bag(tmp_path / 'b', records=drive('kkk'))
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, out, map_options())
    line = 'b: no image became a place: 3 images, 3 nearly black; give images that are sharp and '
    line += 'bright enough'
    assert line_of(error).endswith(line) and list(out.parent.iterdir()) == []


def test_poses_of_another_time_are_named_with_theirs(tmp_path: Path, tiny: Embedder, out: Path):
    records = [*drive('rg', poses=False), odometry(50.0, Pose(0, 0, 0), received=START)]
    with pytest.raises(VprError) as error:
        build_map(opened(write_bag(tmp_path / 'b', records=records)), tiny, out, map_options())
    line = (
        'after the last pose; /odom has poses from 50.0 to 50.0 s, the images start at 100.0 s; '
    )
    assert line_of(error).endswith(line + 'give poses of the time of the images')


# --- several sources


def test_several_bags_make_one_map_and_the_first_keeps_its_numbers(
    tmp_path: Path, tiny: Embedder, out: Path
):
    a = write_bag(tmp_path / 'a', records=drive('rg' * 4))
    b = write_bag(tmp_path / 'b', records=drive('bg' * 3, start=900.0))
    alone, _ = build_map(opened(a), tiny, tmp_path / 'alone', map_options())
    both, counts = build_map(opened(a, b), tiny, out, map_options())
    assert both.places[: len(alone.places)] == alone.places
    assert [p.traverse for p in both.places] == [0] * 4 + [1] * 3
    assert counts['images'] == 14
    assert [t['source'] for t in both.traverses] == [str(a), str(b)]
    before = snapshot(out)
    build_map(opened(a, b), tiny, out, map_options())
    assert snapshot(out) == before


def test_a_folder_and_a_bag_in_one_frame_make_one_map(
    tmp_path: Path, tiny: Embedder, out: Path, town: Path
):
    records = [image(START, tinted(0, 'r')), pose_stamped(START, Pose(1, 2, 3))]
    bag = write_bag(tmp_path / 'b', records=records)
    place_map, _ = build_map(opened(town / 'day', bag), tiny, out, map_options())
    assert [p.traverse for p in place_map.places] == [0] * 117 + [1]
    assert place_map.places[-1].pose == Pose(1, 2, 3)


def test_poses_in_different_frames_are_refused(tmp_path: Path, tiny: Embedder, out: Path):
    records = [image(START, tinted(0, 'r'))]
    paths = [
        write_bag(tmp_path / 'odom', records=[*records, odometry(START, Pose(0, 0, 0))]),
        write_bag(tmp_path / 'map', records=[*records, pose_stamped(START, Pose(0, 0, 0))]),
        write_bag(tmp_path / 'gnss', records=[*records, fix(START, 48.0, 11.0)]),
    ]
    for pair, expected in (
        (paths[:2], f'"odom" in {paths[0]}, "map" in {paths[1]}'),
        (paths[1:], f'"map" in {paths[1]}, "map" of NavSatFix in {paths[2]}'),
    ):
        with pytest.raises(VprError) as error:
            build_map(opened(*pair), tiny, out, map_options())
        assert expected in line_of(error)


def test_satellite_fixes_state_the_origin_in_the_map(tmp_path: Path, tiny: Embedder, out: Path):
    records = [image(START + i, tinted(i, 'r')) for i in range(3)]
    records += [fix(START + i, 48.0 + i * 1e-4, 11.0, 520.0) for i in range(3)]
    place_map, _ = build_map(
        opened(write_bag(tmp_path / 'b', records=records)), tiny, out, map_options()
    )
    loaded = PlaceMap.load(out)
    assert loaded.info.built['origin'] == {'lat': 48.0, 'lon': 11.0, 'alt': 520.0}
    assert [p.geo for p in loaded.places] == [(48.0 + i * 1e-4, 11.0) for i in range(3)]
    assert loaded.places[2].pose.y == pytest.approx(22.24, abs=0.01)


# --- the same to the digit


def test_a_bag_makes_the_very_map_of_its_folder(tmp_path: Path, student: Path, town: Path):
    folder = tmp_path / 'day'
    shutil.copytree(town / 'day' / 'images', folder / 'images')
    rows = (town / 'day' / 'poses.csv').read_text().splitlines(keepends=True)[:13]
    (folder / 'poses.csv').write_text(''.join(rows))
    embedder, frames = Embedder(student, num_threads=1), read_source(folder)
    expected, _ = build_map(opened(folder), embedder, tmp_path / 'of folder')
    kinds = {
        'raw': BagOptions(),
        'jpeg': BagOptions(jpeg=True, storage='mcap', compression='storage'),
    }
    for name, options in kinds.items():
        make_bag(frames, tmp_path / name, options)
        out = tmp_path / f'of {name}'
        place_map, _ = build_map(opened(tmp_path / name), embedder, out, map_options('all'))
        index = (tmp_path / 'of folder' / 'index.faiss').read_bytes()
        assert (out / 'index.faiss').read_bytes() == index
        poses = np.array([[p.pose.x, p.pose.y, p.pose.yaw] for p in place_map.places])
        there = np.array([[p.pose.x, p.pose.y, p.pose.yaw] for p in expected.places])
        np.testing.assert_allclose(poses, there, atol=1e-6)


# --- disks and targets


@pytest.mark.parametrize('call', range(1, 8))
def test_a_full_disk_keeps_the_old_map_and_what_was_done(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch, call: int
):
    old, new = (write_bag(tmp_path / n, records=drive(n * 4)) for n in 'rg')
    build_map(opened(old), tiny, out, map_options())
    before, calls = snapshot(out), []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:  # the journal's three files, then the map's four
        patch.setattr(os, 'fsync', full)
        with pytest.raises(VprError) as error:
            build_map(opened(new), tiny, out, map_options())
    assert 'No space left on device' in line_of(error)
    assert snapshot(out) == before
    build_map(opened(new), tiny, out, map_options())
    assert snapshot(out) != before and [p.name for p in out.parent.iterdir()] == ['map']


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_at_a_thumbnail_is_one_line(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    bag = write_bag(tmp_path / 'b', records=drive('rrrr'))
    monkeypatch.setattr('pathlib.Path.write_bytes', _full_disk)
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, out, map_options(thumbnails=True))
    assert 'No space left on device' in line_of(error) and not out.exists()


def test_a_full_disk_at_the_picture_of_the_route_costs_no_map(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    bag = write_bag(tmp_path / 'b', records=drive('rrrr'))
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', _full_disk)
    build_map(opened(bag), tiny, out, map_options(thumbnails=True))
    assert PlaceMap.load(out, tiny).places and not (out / 'route.png').exists()


def test_a_target_that_is_no_map_is_refused_at_once(tmp_path: Path, tiny: Embedder):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('years of work')
    bag = write_bag(tmp_path / 'b', records=drive('rr'))
    with pytest.raises(VprError) as error:
        build_map(opened(bag), tiny, tmp_path / 'mine', map_options())
    assert 'is not a map' in line_of(error)
    assert not (tmp_path / '.mine.building').exists()


# --- what tells whether a build is the same


def test_the_fingerprint_changes_with_bag_options_and_files(tmp_path: Path):
    bag = write_bag(tmp_path / 'b', records=drive('r'))
    (tmp_path / 'a.tum').write_text('100 0 0 0 0 0 0 1\n')
    (tmp_path / 'a.csv').write_text('frame,label\n0,x\n')

    def now(**options: object) -> str:
        return opened(bag, **options)[0].fingerprint()

    with_files = {'trajectory': tmp_path / 'a.tum', 'labels': tmp_path / 'a.csv'}
    plain, files = now(), now(**with_files)
    assert plain == now() and files == now(**with_files)
    assert len({plain, files, now(stamps='receive'), now(max_pose_gap_s=9.0)}) == 4
    for name in ('a.tum', 'a.csv'):
        os.utime(tmp_path / name, ns=(1, 1))
        assert files != (files := now(**with_files)) and now() == plain
    os.utime(next(bag.glob('*.db3')), ns=(1, 1))
    assert now() != plain


def test_the_fingerprint_of_a_folder_changes_with_an_image(tmp_path: Path):
    cv2.imwrite(str(tmp_path / 'a.png'), tinted(0, 'r'))
    (tmp_path / 'poses.csv').write_text('file,stamp,x,y\na.png,0,0,0\n')
    before = opened(tmp_path)[0].fingerprint()
    assert before == opened(tmp_path)[0].fingerprint()
    os.utime(tmp_path / 'a.png', ns=(1, 1))
    assert before != opened(tmp_path)[0].fingerprint()
