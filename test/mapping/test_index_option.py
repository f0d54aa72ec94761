# SPDX-License-Identifier: Apache-2.0
"""build_map with each kind of index: the same places, said in what it prints and in map_info."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_mapping import opened

from ashtkd_ros.commands import build_map as command
from ashtkd_ros.commands import map_info
from ashtkd_ros.mapping.build import MapOptions, _of_places, build_map
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.index_kinds import COMPRESSED
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder


def run(main, capsys: pytest.CaptureFixture, *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(value) for value in argv])
    return end.value.code, *capsys.readouterr()


@pytest.fixture(scope='module')
def flat(town: Path, student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('maps') / 'flat'
    build_map(opened(town / 'day'), Embedder(student), out)
    return out


@pytest.mark.parametrize('kind', COMPRESSED)
def test_a_map_by_each_kind_has_the_same_places_and_answers(
    kind: str, flat: Path, town: Path, student: Path, tmp_path: Path, capsys
):
    out = tmp_path / kind
    code, printed, _ = run(
        command.main, capsys, town / 'day', '-o', out, '--index', kind, '--model', student
    )
    assert code == 0 and f'index: {kind}, 0.' in printed
    exact, made = PlaceMap.load(flat), PlaceMap.load(out)
    assert made.places == exact.places and made.index.kind == kind
    assert (out / 'local.npy').read_bytes() == (flat / 'local.npy').read_bytes()
    for query in exact.index.rows(range(0, 117, 9)):
        for mine, theirs in zip(made.search(query, 10), exact.search(query, 10), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-3)
    code, printed, _ = run(map_info.main, capsys, out)
    assert code == 0 and f'      index: {kind}, ' in printed and 'asked for by name' in printed


def test_the_usual_index_is_flat_and_says_why(flat: Path, capsys):
    code, printed, _ = run(map_info.main, capsys, flat)
    assert code == 0
    assert '      index: flat, 0.1 MB in memory, 1280 bytes a place, exact; 117 places' in printed


def test_memory_that_is_too_little_is_one_line(town: Path, student: Path, tmp_path: Path, capsys):
    argv = (town / 'day', '-o', tmp_path / 'm', '--memory', '0.01', '--model', student)
    code, _, error = run(command.main, capsys, *argv)
    assert code == 1 and 'pull allows 0.01' in error and error.count('\n') == 1


@pytest.mark.parametrize('given', [('--index', 'best'), ('--memory', '0'), ('--memory', 'nan')])
def test_options_that_make_no_sense_are_refused(town: Path, tmp_path: Path, given, capsys):
    code, _, error = run(command.main, capsys, town / 'day', '-o', tmp_path / 'm', *given)
    assert code == 2 and given[0] in error


def test_a_build_that_was_killed_goes_on_with_another_index():
    options = [MapOptions(), MapOptions(index=IndexOptions('pq', 9.0)), MapOptions(workers=3)]
    assert _of_places(options[0]) == _of_places(options[1]) == _of_places(options[2])
    assert _of_places(MapOptions(local=False)) != _of_places(options[0])
