# SPDX-License-Identifier: Apache-2.0
"""build_map keeps the local features of each place: the right ones, also after any stop."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from bag_helpers import write_bag
from conftest import unit_rows, write_tiny_model
from map_fixtures import TRIES, local_rows
from test_mapping import drive, map_options, opened, snapshot, tinted

from ashtkd_ros.commands import build_map as command
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import LocalShape

SHAPE = LocalShape((2, 4), 3)
ROWS, LOCAL = unit_rows(6, 4), local_rows(6, shape=SHAPE)


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'local.onnx', grid=SHAPE.grid)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'maps' / 'map'


# --- what is in the map


@pytest.mark.parametrize('rule', ['all', 'change'])
def test_each_place_has_the_features_of_its_own_image(
    tmp_path: Path, model: Path, out: Path, rule: str
):
    colours, embedder = 'rgkbr', Embedder(model, num_threads=1)
    bag = write_bag(tmp_path / 'b', records=drive(colours, poses=False))
    made, _ = build_map(opened(bag), embedder, out, map_options(rule))
    pictures = [tinted(place.order, colours[place.order]) for place in made.places]
    assert len(pictures) == (5 if rule == 'all' else 4)
    looks = [embedder.describe(picture) for picture in pictures]
    loaded = PlaceMap.load(out, embedder)
    for place_map in (made, loaded):  # also when the journal that it was made from is gone
        rows = place_map.local.rows(range(len(looks)))
        np.testing.assert_array_equal(rows, [look.local for look in looks])
    assert loaded.local.shape == embedder.local == SHAPE and not loaded.unverified


def build(bag: Path, out: Path, model: Path, *options: str) -> None:
    arguments = [str(bag), '-o', str(out), '--model', str(model), '--max-blur', '1', *options]
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 0


def test_a_map_can_be_built_without_and_the_summary_says_so(
    tmp_path: Path, model: Path, out: Path, capsys: pytest.CaptureFixture
):
    bag, plain = write_bag(tmp_path / 'b', records=drive('rgb')), tmp_path / 'plain.onnx'
    for network, options, line in (
        (model, ['--no-local'], 'no local features: answers are not verified'),
        (model, [], ''),
        (
            write_tiny_model(plain),
            [],
            'no local features, since model tiny gives none: answers are not verified',
        ),
    ):
        build(bag, out, network, *options)
        lines = capsys.readouterr().out.splitlines()
        assert [text for text in lines if 'local' in text] == [line] * bool(line)
        assert (PlaceMap.load(out, Embedder(network)).local is None) == bool(line)
        assert (out / 'local.npy').exists() != bool(line)


# --- the journal


def opened_journal(out: Path, local: LocalShape | None = SHAPE) -> Journal:
    return Journal(out, {'model': 'a', 'options': {'local': local is not None}}, 4, local)


def written(out: Path) -> Path:
    """A journal of six entries, closed; its folder."""
    journal = opened_journal(out)
    for i in range(6):
        journal.add({'number': i}, ROWS[i], LOCAL[i])
    journal.flush()
    journal.close()
    return journal.folder


def taken_up(out: Path) -> int:
    """How many entries are taken up, after a check of what belongs to them."""
    journal = opened_journal(out)
    count = len(list(journal.entries()))
    assert journal.count == count
    if count:
        assert journal.descriptors().tobytes() == ROWS[:count].tobytes()
        assert journal.local().rows(range(count)).tobytes() == LOCAL[:count].tobytes()
    assert (journal.folder / 'local.i8').stat().st_size == count * SHAPE.size
    journal.close()
    return count


def test_the_features_are_taken_up_with_their_entries(out: Path):
    written(out)
    assert taken_up(out) == 6
    journal = opened_journal(out)
    journal.add({'number': 6}, ROWS[0], LOCAL[1])
    assert journal.local().rows([6, 2]).tobytes() == LOCAL[[1, 2]].tobytes()
    journal.close()


@pytest.mark.parametrize('torn', [1, SHAPE.size, 4 * SHAPE.size + 1])
def test_a_torn_end_of_the_features_cuts_the_entries(out: Path, torn: int):
    path = written(out) / 'local.i8'
    os.truncate(path, path.stat().st_size - torn)
    assert taken_up(out) == 6 - (torn + SHAPE.size - 1) // SHAPE.size
    journal = opened_journal(out)
    for i in range(journal.count, 6):
        journal.add({'number': i}, ROWS[i], LOCAL[i])
    journal.flush()
    journal.close()
    assert taken_up(out) == 6


def test_a_changed_byte_of_the_features_cuts_the_entries_from_there(out: Path):
    path, choose = written(out) / 'local.i8', random.Random(6)
    whole = {p: p.read_bytes() for p in path.parent.iterdir()}
    for _ in range(round(12 * TRIES)):
        data, at = bytearray(whole[path]), choose.randrange(6 * SHAPE.size)
        data[at] ^= 1 << choose.randrange(8)
        path.write_bytes(data)
        assert taken_up(out) == at // SHAPE.size
        for file, before in whole.items():
            file.write_bytes(before)


@pytest.mark.parametrize('kind', ['lost', 'fifo', 'link'])
def test_a_lost_or_odd_file_of_features_begins_anew(out: Path, tmp_path: Path, kind: str):
    path = written(out) / 'local.i8'
    path.unlink()
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'link':
        (tmp_path / 'mine').write_text('precious')
        path.symlink_to(tmp_path / 'mine')
    assert taken_up(out) == 0
    assert kind != 'link' or (tmp_path / 'mine').read_text() == 'precious'


def test_a_build_with_other_features_leaves_none_of_them(out: Path):
    folder = written(out)
    journal = opened_journal(out, local=None)
    assert (journal.count, journal.local()) == (0, None) and not (folder / 'local.i8').exists()
    journal.remove()
    journal.close()
    assert not folder.exists()


def test_a_stopped_build_goes_on_with_its_features(
    tmp_path: Path, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
):
    bag, embedder = write_bag(tmp_path / 'b', records=drive('rgbrgb')), Embedder(model)
    build_map(opened(bag), embedder, out, map_options('all'))
    expected, add = snapshot(out), Journal.add

    def stopping(self: Journal, *entry: object) -> None:
        add(self, *entry)
        self.flush()
        raise KeyboardInterrupt

    other = tmp_path / 'other'
    with monkeypatch.context() as patch:
        patch.setattr(Journal, 'add', stopping)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                build_map(opened(bag), embedder, other, map_options('all'))
    build_map(opened(bag), embedder, other, map_options('all'))
    assert snapshot(other) == expected
