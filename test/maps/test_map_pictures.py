# SPDX-License-Identifier: Apache-2.0
"""A map shows its own pictures and no others; what only decorates never costs a result."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import change_place, line_of, places_along_x, write_tiny_model
from test_place_pictures import walk

from ashtkd_ros.commands import build_map as command
from ashtkd_ros.commands import evaluate
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import illustrations
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping import route_picture
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.mapping.route_picture import write_route_picture
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.maps.thumbnails import make_thumbnail
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.ros.node.debug_picture import debug_picture, picture_reader
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

SECRET = np.full((48, 64, 3), (13, 200, 77), np.uint8)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Whatever hangs ends the test."""
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny.onnx')


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / 'private' / 'secret.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), SECRET)
    return path


def mapped(tmp_path: Path, model: Path, thumbnails: bool) -> PlaceMap:
    traverse = open_traverse(walk(tmp_path / 'walk'), TraverseOptions())
    options = MapOptions(thumbnails=thumbnails, workers=1)
    return build_map([traverse], Embedder(model, num_threads=1), tmp_path / 'map', options)[0]


def shown(place_map: PlaceMap) -> list[np.ndarray]:
    """What report and debug picture show of the first place."""
    place, found = place_map.places[0], [picture_reader(place_map)(place_map.places[0])]
    try:
        found.append(PlacePictures(place_map)(place))
    except VprError as error:
        assert '\n' not in str(error)
    return [picture for picture in found if picture is not None]


def is_secret(picture: np.ndarray) -> bool:
    return bool((np.abs(picture.astype(int) - SECRET[0, 0, ::-1]).max(axis=2) < 9).any())


def test_the_images_of_a_walk_are_shown(tmp_path: Path, model: Path):
    place_map = mapped(tmp_path, model, thumbnails=False)
    assert [p.shape for p in shown(place_map)] == [(24, 32, 3)] * 2


@pytest.mark.parametrize('thumbnails', [False, True])
def test_no_other_picture_on_the_disk_is_shown(
    tmp_path: Path, model: Path, secret: Path, thumbnails: bool
):
    """Sources of places and of traverses, at random, that lead to a picture elsewhere."""
    place_map, draw = mapped(tmp_path, model, thumbnails), random.Random(5)
    (tmp_path / 'walk' / 'link.png').symlink_to(secret)
    (tmp_path / 'walk' / 'folder').symlink_to(secret.parent)
    os.mkfifo(tmp_path / 'walk' / 'pipe.png')
    names = [str(secret), '../private/secret.png', 'link.png', 'folder/secret.png', 'secret.png']
    names += [str(secret).lstrip('/'), f'./.././{secret.parent.name}//secret.png', 'pipe.png']
    names += ['private/secret.png', 'a\0b', 'n' * 5000, '', '.', '/dev/zero']
    sources = [str(tmp_path / 'walk'), '/', str(tmp_path), str(secret.parent), '.', '', 'a\0']
    for _ in range(100):
        first = replace(place_map.places[0], source=draw.choice(names))
        info = replace(place_map.info, built={'traverses': [{'source': draw.choice(sources)}]})
        places = [first, *place_map.places[1:]]
        hostile = PlaceMap(place_map.index, places, info, place_map.folder)
        pictures = shown(hostile)
        assert not any(map(is_secret, pictures))
        assert len(pictures) == 2 * thumbnails


@pytest.mark.parametrize('kind', ['another', 'link', 'folder of links', 'pipe', 'no picture'])
def test_a_thumbnail_that_is_not_the_maps_own_is_not_shown(
    tmp_path: Path, model: Path, secret: Path, kind: str
):
    place_map = mapped(tmp_path, model, thumbnails=True)
    shutil.rmtree(tmp_path / 'walk')
    file = tmp_path / 'map' / 'thumbnails' / '000000.jpg'
    file.unlink()
    if kind == 'another':
        shutil.copy(secret, file)
    elif kind == 'link':
        file.symlink_to(secret)
    elif kind == 'pipe':
        os.mkfifo(file)
    elif kind == 'folder of links':
        shutil.rmtree(file.parent)
        shutil.copy(secret, secret.with_name(file.name))
        file.parent.symlink_to(secret.parent)
    else:
        file.write_bytes(b'no picture')
    assert shown(place_map) == []
    if kind != 'another':  # a map of the first format has no checksums of thumbnails
        change_place(place_map, 0, thumbnail='')
        assert shown(place_map) == []


def test_evaluate_embeds_none_of_them(tmp_path: Path, model: Path, secret: Path):
    place_map = mapped(tmp_path, model, thumbnails=False)
    for row in range(len(place_map.places)):
        change_place(place_map, row, source=str(secret))
    place_map.save(tmp_path / 'map')
    out = tmp_path / 'report.html'
    arguments = [tmp_path / 'map', tmp_path / 'walk', '-o', out, '--model', model, '--no-timing']
    with pytest.raises(SystemExit) as end:
        evaluate.main([str(a) for a in arguments])
    assert end.value.code == 0
    assert out.read_text().count('data:image/jpeg') == 3  # the queries alone


FAR = (1e300, -1e300, 1.7e308, 1e9 + 1000, 5e-324)


@pytest.mark.parametrize('x', FAR)
def test_a_route_of_any_extent_is_drawn_or_not(tmp_path: Path, x: float):
    places = places_along_x([0.0, x, -x, 1.0])
    places[3] = replace(places[3], pose=Pose(x, x, x))
    why = write_route_picture(tmp_path / 'route.png', places, 'map')
    assert '\n' not in why and bool(why) != (tmp_path / 'route.png').exists()


KINDS = [
    ValueError('of a picture'),
    OverflowError('too large'),
    MemoryError(),
    OSError(28, 'No space left'),
    RuntimeError('of Matplotlib\nin two lines'),
    KeyError('font'),
    np.linalg.LinAlgError('singular'),
    RecursionError('deep'),
]


@pytest.mark.parametrize('error', KINDS, ids=lambda e: type(e).__name__)
def test_a_map_whose_route_cannot_be_drawn_is_built(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys, error: Exception
):
    def fail(**_):
        raise error

    monkeypatch.setattr(route_picture, 'Figure', fail)
    source, out = walk(tmp_path / 'walk'), tmp_path / 'map'
    with pytest.raises(SystemExit) as end:
        command.main([str(a) for a in (source, '-o', out, '--model', model, '--threads', 1)])
    printed = capsys.readouterr()
    assert end.value.code == 0 and 'Traceback' not in printed.err
    assert 'note: the route could not be drawn; the map is complete without it' in printed.err
    assert len(PlaceMap.load(out).places) == 3 and not (out / 'route.png').exists()


@pytest.mark.parametrize('error', KINDS, ids=lambda e: type(e).__name__)
def test_a_report_whose_figures_cannot_be_drawn_is_written(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    mapped(tmp_path, model, thumbnails=True)

    def fail(*_):
        raise error

    for name in ('precision_recall', 'route', 'reliability', 'confidence', 'localisation'):
        monkeypatch.setattr(illustrations, f'{name}_figure', fail)
    out = tmp_path / 'report.html'
    arguments = [tmp_path / 'map', tmp_path / 'walk', '-o', out, '--model', model]
    with pytest.raises(SystemExit) as end:
        evaluate.main([str(a) for a in (*arguments, '--no-timing', '--no-baselines')])
    assert end.value.code == 0
    assert out.read_text().count('data:image/svg') >= 5


def test_a_strip_of_pixels_has_a_thumbnail(tmp_path: Path):
    for shape in ((1, 20_000, 3), (2, 9000), (9000, 1, 3)):
        thumbnail = make_thumbnail(np.zeros(shape, np.uint8), 'RGB')
        assert cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR) is not None
        assert illustrations.picture_uri(np.zeros((*shape[:2], 3), np.uint8))


def test_a_damaged_thumbnail_is_named_where_pictures_are_checked(tmp_path: Path, model: Path):
    mapped(tmp_path, model, thumbnails=True)
    (tmp_path / 'map' / 'thumbnails' / '000001.jpg').write_bytes(b'\xff\xd8')
    with pytest.raises(VprError) as error:
        PlaceMap.load(tmp_path / 'map', pictures=True)
    assert '000001.jpg' in line_of(error)


@pytest.mark.parametrize(
    'row', ['{secret}', '../private/secret.png', 'link.png', 'folder/secret.png']
)
def test_images_that_a_table_takes_from_elsewhere_are_said(tmp_path: Path, secret: Path, row: str):
    source = walk(tmp_path / 'walk')
    (source / 'link.png').symlink_to(secret)
    (source / 'folder').symlink_to(secret.parent)
    for rows, expected in ((['0.png'], 0), ([row.format(secret=secret), '0.png'], 1)):
        lines = [f'{name},{i},{i},0' for i, name in enumerate(rows)]
        (source / 'poses.csv').write_text('\n'.join(['file,stamp,x,y', *lines]) + '\n')
        traverse = open_traverse(source, TraverseOptions())
        said = [note for note in traverse.notes if 'outside of the folder' in note]
        assert len(said) == expected and all(note.startswith('1 images') for note in said)


def test_a_place_without_a_picture_is_not_black_but_says_so():
    image = np.full((120, 160, 3), 90, np.uint8)
    silent = debug_picture(image, 'RGB', None, 'unknown: too dark')
    told = debug_picture(image, 'RGB', None, 'place 3, 0.91', 'the map has no picture of it')
    assert silent.shape == told.shape == (268, 640, 3)
    assert not silent[28:, 320:].any() and told[28:, 320:].any()
    shown = debug_picture(image, 'RGB', image, 'place 3, 0.91', 'the map has no picture of it')
    assert (shown[28:, 320:] == 90).all()


def test_a_picture_that_the_walk_does_not_list_is_not_shown(tmp_path: Path, model: Path):
    """The map names another walk of the user, and a file beside its images."""
    place_map = mapped(tmp_path, model, thumbnails=False)
    cv2.imwrite(str(tmp_path / 'walk' / 'private.png'), SECRET)
    first = replace(place_map.places[0], source='private.png')
    places = [first, *place_map.places[1:]]
    hostile = PlaceMap(place_map.index, places, place_map.info, place_map.folder)
    assert shown(hostile) == []
