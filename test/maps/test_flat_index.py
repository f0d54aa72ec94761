# SPDX-License-Identifier: Apache-2.0
"""A large flat index is searched by a float16 copy and answers as FAISS; sq8 is not copied."""

from __future__ import annotations

import mmap
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from conftest import unit_rows
from index_fixtures import SIZE, crowded_rows, noisy

from ashtkd_ros.maps import descriptor_index, index_kinds
from ashtkd_ros.maps.descriptor_index import FlatIndex
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['index_fixtures']


@pytest.fixture
def compared(monkeypatch) -> list[int]:
    """Flat indexes of any size have a copy; of each search by FAISS how many rows it compared."""
    rows, knn = [], faiss.knn

    def counted(queries: np.ndarray, array: np.ndarray, *args: object, **options: object) -> tuple:
        rows.append(len(array))
        return knn(queries, array, *args, **options)

    monkeypatch.setattr(index_kinds, 'COPIED', (0, 2**40))
    monkeypatch.setattr(descriptor_index.faiss, 'knn', counted)
    return rows


def all_compared(rows: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What FAISS answers that compares all rows as float32."""
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index.search(query, k)


@pytest.mark.parametrize('k', [1, 7, 64])
def test_the_copy_names_candidates_and_the_answer_is_that_of_exact_search(compared, k: int):
    rows = crowded_rows()
    index = FlatIndex(rows)
    for query in noisy(rows[::25], 0.7)[:, None]:
        similarities, found = index.search(query, k)
        expected, best = all_compared(rows, query, k)
        np.testing.assert_array_equal(found, best)
        np.testing.assert_allclose(similarities, expected, rtol=0, atol=1e-6)
    assert np.median(compared) == k + 16  # not all rows


def test_places_closer_than_the_rounding_are_all_compared(compared):
    rows = np.tile(unit_rows(1, SIZE), (500, 1)) + 1e-5 * unit_rows(500, SIZE)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = rows[321][None]
    similarities, found = FlatIndex(rows).search(query, 5)
    assert compared[-1] == 500
    np.testing.assert_array_equal(found, all_compared(rows, query, 5)[1])
    assert similarities[0, 0] == pytest.approx(1, abs=1e-6)


def test_a_crowded_map_soon_leaves_the_copy_alone_and_a_sparse_query_brings_it_back(compared):
    crowd = np.tile(unit_rows(1, SIZE), (400, 1)) + 1e-5 * unit_rows(400, SIZE)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    apart = crowded_rows()
    index, halves = FlatIndex(np.concatenate([crowd, apart])), []
    search = index._halves.search
    index._halves = SimpleNamespace(search=lambda *given: halves.append(1) or search(*given))
    for _ in range(300):
        index.search(crowd[:1], 5)
    assert len(halves) < 10
    for _ in range(300):
        index.search(apart[7:8], 1)
    assert len(halves) > 150


@pytest.mark.parametrize('length', [1e-30, 1e-22, 1e-3, 1e6, 1e30])
def test_the_length_of_a_query_changes_no_place(compared, length: float):
    rows = unit_rows(500, SIZE)
    index = FlatIndex(rows)
    for query in noisy(rows[:40], 0.7)[:, None]:
        scaled = np.float32(length) * query
        expected = all_compared(rows, scaled, 7)[1]
        np.testing.assert_array_equal(index.search(scaled, 7)[1], expected)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_query_that_is_none_ends_as_in_exact_search(compared, bad: float):
    query = np.full((1, SIZE), bad, np.float32)
    similarities, found = FlatIndex(crowded_rows()).search(query, 5)
    assert similarities.shape == found.shape == (1, 5)
    assert compared[-1] == len(crowded_rows())


def test_of_many_equally_similar_places_those_of_exact_search_are_taken(compared):
    rows = np.repeat(unit_rows(100, SIZE), 5, axis=0)
    query = noisy(rows[:1], 0.7)
    found = FlatIndex(rows).search(query, 150)[1]
    np.testing.assert_array_equal(found, all_compared(rows, query, 150)[1])
    assert compared == [500]


def test_several_queries_and_asking_for_nearly_all_need_no_copy(compared):
    rows = crowded_rows(60)
    index = FlatIndex(rows)
    index.search(rows[:3], 5)
    assert sorted(index.search(rows[:1], 60)[1][0].tolist()) == list(range(60))
    assert compared == [60, 60]


def test_small_and_huge_indexes_have_no_copy_and_say_what_they_take():
    small, size = FlatIndex(unit_rows(100, 64)), 512
    assert small.memory_bytes == small.array.nbytes
    one = 4 * size
    first, last = (bound // one for bound in index_kinds.COPIED)
    for count, copied in ((first - 1, 1.0), (first, 1.5), (last, 1.5), (last + 1, 1.0)):
        assert index_kinds.estimated_bytes('flat', count, size) == copied * one * count


@pytest.mark.skipif(not hasattr(faiss, 'ZeroCopyIOReader'), reason='FAISS before 1.11 copies all')
def test_a_loaded_sq8_index_gives_back_the_pages_that_it_has_copied(make_map, tmp_path: Path):
    make_map('sq8', unit_rows(4000, 64)).save(tmp_path / 'map')
    index = PlaceMap.load(tmp_path / 'map').index
    product, refined, array = index._parts
    assert product.ntotal == refined.ntotal == 4000
    whole = (tmp_path / 'map' / 'index.faiss').read_bytes()
    kept = np.flatnonzero(array)[0]
    assert kept >= 4000 * 32 - mmap.PAGESIZE  # all before was given back
    assert array[kept:].tobytes() == whole[kept:] and index.data() == whole
