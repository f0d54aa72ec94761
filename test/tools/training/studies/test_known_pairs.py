# SPDX-License-Identifier: Apache-2.0
"""Counts of pairs with known points: by set, with a control, from a settings file."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_places import index_set, places_of
from small_student import torch  # noqa: F401  skips where torch is missing

from tools.training.data.correspondence import Correspondence, FixedCameras
from tools.training.data.scenes import PAIRS
from tools.training.studies import known_pairs
from tools.training.studies.known_pairs import CONTROL, main, pairs_by_set, table


@pytest.fixture
def sources(tmp_path: Path) -> list[dict]:
    index_set(tmp_path / 'data/hall', [('a.jpg', 'x'), ('b.jpg', 'x'), ('c.jpg', 'x')])
    index_set(tmp_path / 'data/yard', [('a.jpg', 'x'), ('b.jpg', 'y')])
    index_set(tmp_path / 'data/roof', [('a.jpg', 'x'), ('b.jpg', 'x')])
    positives = {'hall': 'place', 'roof': 'camera'}  # a fixed camera's need no comparison
    return [{'kind': 'sets', 'path': str(tmp_path / 'data'), 'positives': positives}]


def test_pairs_are_those_of_a_place_and_the_control_those_of_different_sets(sources: list[dict]):
    pairs = pairs_by_set(places_of(sources), control=5)
    assert list(pairs) == ['hall', CONTROL] and len(pairs['hall']) == 3
    assert len(pairs[CONTROL]) == 5
    assert all(Path(a).parent != Path(b).parent for a, b in pairs[CONTROL])
    assert list(pairs_by_set(places_of(sources), control=0)) == ['hall']


def test_a_row_tells_how_many_pairs_share_points_and_how_many():
    scenes = Correspondence([FixedCameras({'a': 'roof', 'b': 'roof'})])
    rows = table({'hall': [('a', 'b'), ('a', 'c')], 'yard': [('c', 'd')]}, scenes).split('\n')
    assert [row.split() for row in rows[1:]] == [
        ['hall', '2', '1', '196.0'],
        ['yard', '1', '0', '-'],
    ]


def test_the_command_keeps_what_it_found_where_training_looks_for_it(
    sources: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    settings = type('Settings', (), {'sources': (), 'views_folder': tmp_path / 'views'})
    monkeypatch.setattr(known_pairs, 'read_config', lambda path: settings)
    monkeypatch.setattr(known_pairs, 'read_places', lambda _: places_of(sources))
    assert main(['--control', '2']) == 0
    printed = capsys.readouterr().out.split('\n')
    assert printed[1].split() == ['hall', '3', '0', '-']  # black pictures share nothing
    assert (tmp_path / 'views' / PAIRS).is_file()
