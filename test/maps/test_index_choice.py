# SPDX-License-Identifier: Apache-2.0
"""Which index a map gets: by its size and the memory it may take, and why, in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import line_of
from index_fixtures import COUNT, SIZE, crowded_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.descriptor_index import DescriptorIndex
from ashtkd_ros.maps.index_choice import (
    CHOICES,
    DEFAULT_MB,
    MOST_EXACT,
    IndexOptions,
    choose,
    like,
)
from ashtkd_ros.maps.index_kinds import KINDS, estimated_bytes
from ashtkd_ros.maps.map_rows import map_of_parts, whole
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['index_fixtures']


@pytest.mark.parametrize(
    ('count', 'memory', 'kind'),
    [
        (1, None, 'flat'),
        (MOST_EXACT, None, 'flat'),
        (MOST_EXACT + 1, None, 'fp16'),
        (1_000_000, None, 'sq8'),
        (2_000_000, None, 'pq'),
        (10_000, 12.9, 'flat'),
        (10_000, 12.7, 'fp16'),
        (10_000, 6.0, 'sq8'),
        (10_000, 3.0, 'pq'),
        (1_000_000, 5000.0, 'fp16'),
        (1_000_000, 100.0, 'pq'),
    ],
)
def test_auto_is_exact_while_it_can_and_then_what_fits_the_memory(count, memory, kind):
    chosen, why = choose(count, 320, IndexOptions(memory_mb=memory))
    assert chosen == kind
    assert estimated_bytes(kind, count, 320) <= 1e6 * (memory or DEFAULT_MB)
    most = 'at most' if count <= MOST_EXACT else 'more than'
    assert why.startswith(f'{count} place') and f'{most} {MOST_EXACT}' in why
    assert f'{kind} takes ' in why and f' of {memory or DEFAULT_MB:g} MB' in why
    for larger in CHOICES[1 : CHOICES.index(kind)] if count <= MOST_EXACT else ():
        assert f'{larger} would take' in why


def test_binary_is_chosen_where_only_it_is_small_enough():
    assert estimated_bytes('binary', 10**6, 32) < estimated_bytes('pq', 10**6, 32)
    between = (estimated_bytes('binary', 10**6, 32) + estimated_bytes('pq', 10**6, 32)) / 2e6
    chosen, why = choose(10**6, 32, IndexOptions(memory_mb=between))
    assert chosen == 'binary' and 'pq would take 20' in why


@pytest.mark.parametrize('kind', ['auto', *KINDS])
def test_what_does_not_fit_the_memory_is_refused_before_the_work(make_map, kind: str):
    with pytest.raises(VprError) as error:
        make_map(IndexOptions(kind, memory_mb=0.005))
    line = line_of(error)
    assert f'for {COUNT} places takes ' in line and 'pull allows 0.005;' in line


@pytest.mark.parametrize('kind', KINDS)
def test_a_kind_that_is_named_is_taken_whatever_the_size(kind: str):
    assert choose(10**9, 320, IndexOptions(kind)) == (kind, 'asked for by name')


def test_the_memory_that_is_allowed_is_kept(make_map):
    rows = crowded_rows(5000)
    for memory in (1.0, 0.8, 0.5, 0.3):
        index = make_map(IndexOptions(memory_mb=memory), rows).index
        assert index.memory_bytes <= 1e6 * memory
        assert index.kind == {1.0: 'flat', 0.8: 'fp16', 0.5: 'sq8', 0.3: 'pq'}[memory]
        assert index.note.why in index.explained


def test_the_reason_is_in_the_map(make_map, tmp_path: Path):
    make_map(IndexOptions(memory_mb=0.2)).save(tmp_path / 'map')
    values = yaml.safe_load((tmp_path / 'map' / 'map.yaml').read_text())
    assert values['search']['why'].startswith(f'{COUNT} places, at most 50000; flat would take ')
    assert PlaceMap.load(tmp_path / 'map').index.note.table() == values['search']
    assert values['descriptor_size'] == SIZE


def test_a_map_that_nobody_chose_an_index_for_says_nothing_of_it(built: PlaceMap, tmp_path: Path):
    built.save(tmp_path / 'map')
    assert 'search' not in yaml.safe_load((tmp_path / 'map' / 'map.yaml').read_text())
    assert PlaceMap.load(tmp_path / 'map').index.note is None


def test_a_map_that_grows_keeps_to_what_was_asked_for(make_map):
    """A kind that was named stays; else it is chosen anew for the memory that was allowed."""
    rows = crowded_rows(5000)

    def grown(first: IndexOptions, count: int) -> DescriptorIndex:
        small = make_map(first, rows[:count])
        return map_of_parts([whole(small)] * 2, small.places, small.info, small.index).index

    for kind in ('flat', 'pq'):
        index = grown(IndexOptions(kind), 200)
        assert (index.kind, index.note.why) == (kind, 'asked for by name')
    assert grown(IndexOptions(memory_mb=0.5), 1000).kind == 'flat'
    index = grown(IndexOptions(memory_mb=0.5), 2500)
    assert make_map(IndexOptions(memory_mb=0.5), rows[:2500]).index.kind == 'flat'
    assert index.kind == 'sq8' and index.note.why.endswith(' of 0.5 MB')
    assert grown(IndexOptions(), 2500).note.why.endswith(f' of {DEFAULT_MB:g} MB')
    with pytest.raises(VprError, match='pull allows 0.0093;'):
        grown(IndexOptions(memory_mb=0.0093), 48)  # append has no such option


def test_the_memory_is_read_as_it_was_written():
    for memory in (0.00001, 0.5, 12.25, 512.0, 1e6, 1.5e9):
        _, why = choose(1, 2, IndexOptions(memory_mb=max(memory, 0.0001)))
        assert like('flat', why) == IndexOptions(memory_mb=max(memory, 0.0001))
    for odd in ('', 'x', 'flat takes 1 of nan MB', 'flat takes 1 of 1e999 MB'):
        assert like('sq8', odd) == IndexOptions()
    assert like('flat', None) is None
