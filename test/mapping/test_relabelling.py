# SPDX-License-Identifier: Apache-2.0
"""Other names for places: who gets them, what is refused, and what they change besides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import line_of, places_along_x

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping.relabelling import (
    LONGEST_NAME,
    changes,
    notes_on,
    parse_names,
    read_names,
    relabelled,
)
from ashtkd_ros.maps.places import Places
from ashtkd_ros.recognition.matcher import MatcherConfig, Neighbourhood


@pytest.fixture
def places() -> Places:
    """Ten places 8 m apart, the first two called hall; place 4 has another look."""
    row = [replace(p, label='hall' if p.id < 2 else '') for p in places_along_x(range(0, 80, 8))]
    return Places.of([*row, replace(row[4], traverse=1, label='old')])


def test_all_pictures_of_a_place_get_its_name_and_nothing_else_changes(places: Places):
    after = relabelled(places, {4: 'kitchen', 0: ''})
    assert list(after.labels) == ['', 'hall', '', '', 'kitchen', *[''] * 5, 'kitchen']
    assert [replace(p, label='') for p in after] == [replace(p, label='') for p in places]
    assert changes(places, after) == {0: ('hall', ''), 4: ('old', 'kitchen')}


def test_the_same_name_again_is_no_change(places: Places):
    after = relabelled(places, {0: 'hall', 9: ''})
    assert after == places and not changes(places, after) and not notes_on(places, after)


@pytest.mark.parametrize(
    'name', ['a\nb', 'a\0', '\x1b[2J', '\udcff', '\u202eabc', 'x' * (LONGEST_NAME + 1)]
)
def test_names_that_nobody_could_show_are_refused(places: Places, name: str):
    with pytest.raises(VprError) as error:
        relabelled(places, {3: name})
    assert 'place 3' in line_of(error)
    assert relabelled(places, {3: 'x' * LONGEST_NAME})


def test_names_that_the_map_has_already_may_be_odd():
    """They come back from an export as a table can hold them, and stay as they are."""
    odd = ['two\nlines\r\nand\ra return ', ' \udcff', '\x1b', 'x' * 2 * LONGEST_NAME, 'plain']
    row = zip(places_along_x(range(5)), odd, strict=True)
    places = Places.of([replace(p, label=label) for p, label in row])
    told = dict(enumerate(['two\nlines\nand\na return', '\ufffd', *odd[2:]]))
    assert list(relabelled(places, told).labels) == odd
    assert list(relabelled(places, {4: 'new'}).labels) == [*odd[:4], 'new']


def test_a_place_that_the_map_lacks_is_refused(places: Places):
    with pytest.raises(VprError) as error:
        relabelled(places, {3: 'a', 10: 'b', 12: 'c'})
    assert 'no place 10' in line_of(error) and '10 places' in line_of(error)


def test_names_of_the_command_line():
    assert parse_names(['3=a=b', ' 4 = c ', '5=', '3=a=b']) == {3: 'a=b', 4: 'c', 5: ''}


@pytest.mark.parametrize(
    'pairs, said',
    [
        (['3'], 'form ID=NAME'),
        (['=a'], 'whole number'),
        (['-1=a'], 'whole number'),
        (['1.0=a'], 'whole number'),
        (['٣=a'], 'whole number'),
        ([f'{10**20}=a'], 'whole number'),
        (['3=a', '3=b'], 'place 3 has two names'),
        (['3=a', '03=b'], 'place 3 has two names'),
        (['3=a', '3='], 'place 3 has two names'),
    ],
)
def test_wrong_names_of_the_command_line_are_one_line(pairs: list[str], said: str):
    with pytest.raises(VprError) as error:
        parse_names(pairs)
    assert said in line_of(error)


def test_a_table_may_have_more_columns_and_a_row_a_picture(tmp_path: Path):
    table = tmp_path / 'names.csv'
    table.write_text('x,label,id\n1,"a, ""b""",3\n2,"a, ""b""",3\n3,,4\n')
    assert read_names(table) == {3: 'a, "b"', 4: ''}
    table.write_text('id,label\n3,a\n4,b\n3,c\n')
    with pytest.raises(VprError) as error:
        read_names(table)
    assert f'{table}:4: place 3 has two names' in line_of(error)
    table.write_text('id,name\n3,a\n')
    with pytest.raises(VprError, match='column label is missing'):
        read_names(table)


def near(places: Places, i: int, j: int) -> bool:
    return Neighbourhood(places, MatcherConfig())(i, j)


def test_one_name_for_places_apart_makes_them_neighbours_and_is_told(places: Places):
    after = relabelled(places, {3: 'kitchen', 7: 'kitchen'})
    assert not near(places, 3, 7) and near(after, 3, 7)
    told = notes_on(places, after)
    assert '2 places apart from each other are called "kitchen"' in told[0]
    assert 'calibrate' in told[1] and len(told) == 2
    back = notes_on(after, relabelled(after, {7: ''}))
    assert len(back) == 1 and 'calibrate' in back[0]


def test_a_name_for_places_side_by_side_or_for_one_changes_nothing(places: Places):
    assert not notes_on(places, relabelled(places, {3: 'kitchen', 4: 'kitchen'}))
    assert not notes_on(places, relabelled(places, {0: 'a', 4: 'b', 9: 'c'}))


def test_a_name_for_one_spot_that_is_seen_both_ways_changes_nothing(places: Places):
    """They are none's neighbours, with the name or without it."""
    back = Pose(24.0, 0.0, 0.0, qz=1.0, qw=0.0)
    turned = Places.of([replace(p, pose=back) if p.id == 4 else p for p in places])
    after = relabelled(turned, {3: 'kitchen', 4: 'kitchen'})
    assert not near(after, 3, 4) and not notes_on(turned, after)


def test_one_name_for_most_of_the_map_is_warned_of(places: Places):
    told = notes_on(places, relabelled(places, dict.fromkeys(range(2, 10), 'all')))
    assert 'most of the map' in told[0]
