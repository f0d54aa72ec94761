# SPDX-License-Identifier: Apache-2.0
"""map_tools on maps by each kind of index: what comes of them is of the same kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from map_tools_fixtures import built, contents, ids, tools, walk

from ashtkd_ros.maps.index_kinds import COMPRESSED
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['map_tools_fixtures']


@pytest.fixture(params=COMPRESSED)
def of_kind(request, model: Path, tmp_path: Path) -> Path:
    """A map with a compressed index; the walk is beside it."""
    walk(tmp_path / 'walk', [2.0 * n for n in range(12)])
    options = ('--index', request.param)
    return built(tmp_path / request.param, tmp_path / 'walk', model=model, options=options)


def test_a_changed_map_has_an_index_of_the_kind_that_it_had(
    of_kind: Path, common: list, tmp_path: Path
):
    more = walk(tmp_path / 'more', [100.0, 102.0], seed=50, start=1000.0)
    out, kind = tmp_path / 'out', of_kind.name
    assert tools('append', of_kind, more, *common) == 0 and ids(of_kind) == [*range(14)]
    for given in (
        ('drop', of_kind, '--ids', '3'),
        ('reembed', of_kind, *common),
        ('relabel', of_kind, '4=door'),
        ('merge', of_kind, *common),
    ):
        assert tools(*given, '-o', out / given[0]) == 0
        assert PlaceMap.load(out / given[0], pictures=True).index.kind == kind, given[0]
    assert PlaceMap.load(of_kind).index.kind == kind


def test_a_map_that_is_saved_as_it_was_loaded_has_the_same_bytes(of_kind: Path, tmp_path: Path):
    before = contents(of_kind)
    PlaceMap.load(of_kind).save(tmp_path / 'again', of_kind / 'thumbnails', of_kind / 'route.png')
    assert contents(tmp_path / 'again') == before
