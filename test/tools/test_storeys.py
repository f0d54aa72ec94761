# SPDX-License-Identifier: Apache-2.0
"""The picture of the storeys: what is above what, which arrows are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.documentation.storeys import draw, heights, plain_arrows, read_graph, rows, unit_of

HOUSE = {
    'ashtkd_ros/roof': frozenset({'ashtkd_ros/wall', 'ashtkd_ros/ground'}),
    'ashtkd_ros/wall': frozenset({'ashtkd_ros/ground'}),
    'ashtkd_ros/shed': frozenset({'ashtkd_ros/ground'}),
    'ashtkd_ros/ground': frozenset(),
}


def test_a_folder_is_above_all_that_it_imports():
    assert [height for _, height in sorted(heights(HOUSE).items())] == [0, 2, 1, 1]
    assert [len(units) for units in rows(HOUSE)] == [1, 2, 1]


def test_an_arrow_that_others_imply_is_not_drawn():
    arrows = plain_arrows(HOUSE)
    assert ('ashtkd_ros/roof', 'ashtkd_ros/wall') in arrows and len(arrows) == 3
    assert draw(HOUSE).count('marker-end') == 3


def test_a_circle_is_refused_by_name():
    with pytest.raises(ValueError, match='ashtkd_ros/a → ashtkd_ros/b → ashtkd_ros/a'):
        heights({'ashtkd_ros/a': {'ashtkd_ros/b'}, 'ashtkd_ros/b': {'ashtkd_ros/a'}})


def test_imports_are_read_wherever_they_stand(tmp_path: Path):
    for file, text in {
        'ashtkd_ros/maps/__init__.py': '',
        'ashtkd_ros/maps/folder.py': 'def late():\n    from ashtkd_ros.files import reading\n',
        'ashtkd_ros/files/__init__.py': '',
        'ashtkd_ros/files/reading.py': 'import os\nfrom ashtkd_ros.errors import VprError\n',
        'ashtkd_ros/errors.py': '',
        'tools/demo.py': 'import ashtkd_ros.maps.folder\n',
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert read_graph(tmp_path) == {
        'ashtkd_ros/errors.py': frozenset(),
        'ashtkd_ros/files': frozenset({'ashtkd_ros/errors.py'}),
        'ashtkd_ros/maps': frozenset({'ashtkd_ros/files'}),
        'tools/demo.py': frozenset({'ashtkd_ros/maps'}),
    }
    assert unit_of(Path('ashtkd_ros/ros/node/health.py')) == 'ashtkd_ros/ros/node'


def test_the_same_imports_give_the_same_picture():
    turned = {unit: HOUSE[unit] for unit in reversed(HOUSE)}
    assert draw(HOUSE) == draw(turned)
