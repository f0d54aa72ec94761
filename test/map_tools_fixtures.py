# SPDX-License-Identifier: Apache-2.0
"""Small walks, maps of them, and map_tools as users call it; a plugin of pytest."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_tiny_model

from ashtkd_ros.commands import build_map, map_tools
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.maps.place_map import PlaceMap

XS = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def picture(seed: int) -> np.ndarray:
    """A picture of few colours, uint8 (48, 64, 3), that the tiny network tells from others."""
    coarse = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_NEAREST)


def walk(folder: Path, xs: list[float], seed: int = 0, start: float = 0.0) -> Path:
    """A folder of pictures at x = xs, the images 10 s apart."""
    folder.mkdir(parents=True)
    rows = ['file,stamp,x,y']
    for number, x in enumerate(xs):
        cv2.imwrite(str(folder / f'{number}.png'), picture(seed + number))
        rows.append(f'{number}.png,{start + 10 * number},{x},0')
    (folder / 'poses.csv').write_text('\n'.join(rows) + '\n')
    return folder


def run(main, *arguments: object) -> int:
    """Run a command in this process; its exit status."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


def tools(*arguments: object) -> int:
    """Run map_tools in this process; its exit status."""
    return run(map_tools.main, *arguments)


def built(out: Path, *sources: Path, model: Path, options: tuple = ()) -> Path:
    """A map of the sources."""
    arguments = [*sources, '-o', out, '--model', model, '--threads', 1, *options]
    assert run(build_map.main, *arguments) == 0
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def ids(folder: Path) -> list[int]:
    """The numbers of the places, a picture at a time; the map is checked whole before."""
    return PlaceMap.load(folder, pictures=True).places.ids.tolist()


def pictured(folder: Path) -> dict[tuple[int, str], tuple[str, bytes, bytes]]:
    """What belongs to each picture, by the number of its place and its source: checksum of its
    thumbnail, descriptor, local features. The thumbnails must be those that the places name."""
    place_map, found = PlaceMap.load(folder, pictures=True), {}
    for place in place_map.places:
        data = (folder / 'thumbnails' / f'{place.row:06d}.jpg').read_bytes()
        assert sha256_of(data) == place.thumbnail
        local = place_map.local.rows([place.row]).tobytes() if place_map.local else b''
        descriptor = place_map.index.rows([place.row]).tobytes()
        found[place.id, place.source] = place.thumbnail, descriptor, local
    return found


def history(folder: Path) -> list[dict]:
    """What was done with a map."""
    return PlaceMap.load(folder).info.built.get('history', [])


def error(capsys: pytest.CaptureFixture) -> str:
    """What a failed command printed, one line but for notes."""
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith('note: ')]
    assert printed.out == '' and len(lines) == 1 and lines[0].startswith('error: '), printed
    return lines[0]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx', grid=(2, 4))


@pytest.fixture(scope='module')
def first(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp('first')
    walk(folder / 'walk', XS)
    return built(folder / 'map', folder / 'walk', model=model)


@pytest.fixture
def a_map(first: Path, tmp_path: Path) -> Path:
    """A map of six places 2 m apart, of a walk that is still there."""
    shutil.copytree(first, tmp_path / 'map')
    return tmp_path / 'map'


@pytest.fixture
def common(model: Path) -> list[object]:
    return ['--model', model, '--threads', 1]
