# SPDX-License-Identifier: Apache-2.0
"""A large flat index is searched by its float16 copy, and answers as FAISS does with all of it."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from conftest import unit_rows
from index_fixtures import SIZE, crowded_rows, noisy

from ashtkd_ros.maps import descriptor_index, index_kinds
from ashtkd_ros.maps.descriptor_index import FlatIndex

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


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_a_query_that_is_none_ends_as_in_exact_search(compared, bad: float):
    query = np.full((1, SIZE), bad, np.float32)
    similarities, found = FlatIndex(crowded_rows()).search(query, 5)
    assert similarities.shape == found.shape == (1, 5)
    assert compared[-1] == len(crowded_rows())


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
