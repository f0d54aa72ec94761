# SPDX-License-Identifier: Apache-2.0
"""A map of parts: the same bytes as by one process, whatever is killed, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import image, write_bag
from conftest import line_of, write_tiny_model
from test_bags import spoil_message
from test_mapping import START, drive, map_options, opened, snapshot, tinted

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping import build as mapping
from ashtkd_ros.mapping import parts as parts_module
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.parts import Built, Part, build_in_parts, build_part
from ashtkd_ros.network.embedder import Embedder


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    model = tmp_path_factory.mktemp('model') / 'tiny.onnx'
    return Embedder(write_tiny_model(model, grid=(2, 4)), num_threads=1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'maps' / 'map'


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Two bags, the second damaged within and of changing sizes, and a folder of deep images."""
    records = drive('rgkgrrbb', poses=False)
    records += [image(START + 5, tinted(9, 'b', (48, 32))), image(3.0, tinted(0, 'r'))]
    folder = tmp_path / 'deep'
    folder.mkdir()
    for i in range(4):
        deep = np.random.default_rng(i).integers(0, 1000 << i, (24, 32)).astype(np.uint16)
        cv2.imwrite(str(folder / f'{i}.png'), deep)
    rows = [f'{i}.png,{i},,,,,,,' for i in range(4)]
    header = 'file,stamp,x,y,z,qx,qy,qz,qw'
    (folder / 'poses.csv').write_text('\n'.join([header, *rows]) + '\n')
    return [
        write_bag(tmp_path / 'a', records=drive('rrggbb', poses=False)),
        spoil_message(write_bag(tmp_path / 'b', records=records), 3),
        folder,
    ]


def in_turn(parts: Sequence[Part]) -> Iterator[Built]:
    return map(build_part, parts)


def in_parts(work=in_turn):
    return partial(build_in_parts, work=work)


class Kill(BaseException):
    """As a kill: nobody catches it."""


@pytest.mark.parametrize('rule', ['auto', 'all'])
def test_parts_make_the_map_of_one_process(
    sources: list[Path], tiny: Embedder, out: Path, rule: str
):
    options = map_options(rule, thumbnails=True)
    one, several = opened(*sources), opened(*sources)
    _, counts = build_map(one, tiny, out, options)
    whole = snapshot(out)
    assert any(name.startswith('thumbnails/') for name in whole) and 'local.npy' in whole
    shutil.rmtree(out)
    _, found = build_map(several, tiny, out, options, in_parts())
    assert snapshot(out) == whole
    assert list(found.items()) == list(counts.items()) and counts['damaged message'] == 1
    assert [t.findings() for t in several] == [t.findings() for t in one]
    assert [p.name for p in out.parent.iterdir()] == ['map']


@pytest.mark.parametrize('first', [None, in_parts()])
@pytest.mark.parametrize('then', [None, in_parts()])
@pytest.mark.parametrize('after', [1, 3, 5, 8])
def test_a_build_that_is_stopped_goes_on_with_workers_or_without(
    sources: list[Path],
    tiny: Embedder,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    first,
    then,
    after: int,
):
    options = map_options('all', thumbnails=True)
    _, counts = build_map(opened(*sources), tiny, out, options)
    whole, whole_add, added = snapshot(out), Journal.add, []
    shutil.rmtree(out)

    def add(self: Journal, *entry: object) -> None:
        if self.folder.name == '.map.building':
            if len(added) == after:
                raise Kill
            added.append(entry)
        whole_add(self, *entry)
        self.flush()

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(Journal, 'add', add)
        build_map(opened(*sources), tiny, out, options, first)
    _, found = build_map(opened(*sources), tiny, out, options, then)
    assert (snapshot(out), found) == (whole, counts)
    assert [p.name for p in out.parent.iterdir()] == ['map']


def test_what_workers_have_done_is_not_done_again(
    sources: list[Path], tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(parts: Sequence[Part]) -> Iterator[Built]:
        build_part(parts[-1])
        raise Kill

    options, looks = map_options('all'), []
    with pytest.raises(Kill):
        build_map(opened(*sources), tiny, out, options, in_parts(killed))
    assert (out.parent / '.map.building').is_dir()
    look = mapping.Builder.look

    def counted(self, *pixels):
        looks.append(len(self.traverses))
        return look(self, *pixels)

    monkeypatch.setattr(mapping.Builder, 'look', counted)
    place_map, _ = build_map(opened(*sources), tiny, out, options, in_parts())
    of_probes = 1 + len(sources)
    assert len(looks) - of_probes == len(place_map.places) - 4  # those of the folder were there


def test_a_part_that_another_worker_holds_is_waited_for(
    sources: list[Path], tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts_module, '_PATIENCE_S', 0.3)
    held = []

    def hold(parts: Sequence[Part]) -> Iterator[Built]:
        held.append(Journal(parts[1].out, {'model': '', 'options': {}}, 3))
        return in_turn(parts)

    with pytest.raises(VprError) as error:
        build_map(opened(*sources), tiny, out, map_options('all'), in_parts(hold))
    assert 'another build_map or map_tools is at work on this map' in line_of(error)
    held[0].close()
    build_map(opened(*sources), tiny, out, map_options('all'), in_parts())


def test_a_damaged_source_is_the_same_line_as_without_workers(
    sources: list[Path], tiny: Embedder, out: Path
):
    lines = []
    os.truncate(sources[2] / '3.png', 100)
    for add_places in (None, in_parts()):
        with pytest.raises(VprError) as error:
            build_map(opened(*sources), tiny, out, map_options('all'), add_places)
        lines.append(line_of(error))
    assert lines[0] == lines[1] and str(sources[2] / '3.png') in lines[0]


ODD = {
    'sha256': ('0' * 64, 'is another network there'),
    'code': ('', 'ashtkd_ros is another version there'),
    'numbers': ('', 'the network gives other numbers there'),
    'key': ('', 'is another recording there'),
    'model': (Path('/nowhere/model.onnx'), '/nowhere/model.onnx'),
}


@pytest.mark.parametrize('name', ODD)
def test_a_machine_that_would_build_something_else_is_named(
    sources: list[Path], tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(parts_module.platform, 'node', lambda: 'crane')
    value, words = ODD[name]

    def odd(parts: Sequence[Part]) -> Iterator[Built]:
        return in_turn([dataclasses.replace(part, **{name: value}) for part in parts])

    with pytest.raises(VprError) as error:
        build_map(opened(*sources), tiny, out, map_options('all'), in_parts(odd))
    assert line_of(error).startswith('on crane: ') and words in line_of(error)
    assert list(out.parent.iterdir()) == []


def test_a_file_that_a_machine_lacks_is_named_with_the_machine(
    sources: list[Path], tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts_module.platform, 'node', lambda: 'crane')

    def without(parts: Sequence[Part]) -> Iterator[Built]:
        shutil.move(sources[1], f'{sources[1]}.away')
        return in_turn(parts)

    with pytest.raises(VprError) as error:
        build_map(opened(*sources), tiny, out, map_options('all'), in_parts(without))
    assert line_of(error).startswith(f'on crane: {sources[1]}: ')
    assert 'the same files under the same paths' in line_of(error)


def test_relative_paths_are_those_of_the_caller(
    sources: list[Path], tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(sources[0].parent)

    def elsewhere(parts: Sequence[Part]) -> Iterator[Built]:
        os.chdir('/')
        return in_turn(parts)

    traverses = opened(Path('a'), Path('deep'))
    place_map, _ = build_map(traverses, tiny, out, map_options('all'), in_parts(elsewhere))
    assert len(place_map.places) == 10


def test_places_that_are_not_found_again_are_refused(
    sources: list[Path], tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    journal_add = Journal.add

    def add(self: Journal, entry: dict, *rows: object) -> None:
        entry['cursor']['number'] += self.folder.name == '.map.building'
        journal_add(self, entry, *rows)
        self.flush()
        if self.count == 2:
            raise Kill

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(Journal, 'add', add)
        build_map(opened(*sources), tiny, out, map_options('all'))
    with pytest.raises(VprError) as error:
        build_map(opened(*sources), tiny, out, map_options('all'), in_parts())
    assert 'holds places that are not found again' in line_of(error)


def test_files_of_the_user_among_the_parts_stay(sources: list[Path], tiny: Embedder, out: Path):
    mine = out.parent / '.map.building' / 'parts' / 'mine'

    def work(parts: Sequence[Part]) -> Iterator[Built]:
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text('mine')
        return in_turn(parts)

    build_map(opened(*sources), tiny, out, map_options('all'), in_parts(work))
    assert mine.read_text() == 'mine' and [p.name for p in mine.parent.iterdir()] == ['mine']
