# SPDX-License-Identifier: Apache-2.0
"""Every kind of index finds what exact search finds, with its similarities, and stays as made."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
import yaml
from conftest import ROOT, checksums, line_of, unit_rows
from index_fixtures import COUNT, SIZE, crowded_rows, noisy

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps import descriptor_index, index_kinds, index_recall
from ashtkd_ros.maps.descriptor_file import as_float32
from ashtkd_ros.maps.index_kinds import (
    COMPRESSED,
    FEW,
    KINDS,
    candidates,
    estimated_bytes,
    signs,
    turned_size,
    turning,
)
from ashtkd_ros.maps.index_note import IndexNote
from ashtkd_ros.maps.index_recall import best_similarities, noisy_copies, recall
from ashtkd_ros.maps.map_summary import summarise
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.recognition.matcher import Matcher

pytest_plugins = ['index_fixtures']
ROUNDED = 2.0**-11  # how far float16 may move a similarity


# --- what is found


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_finds_what_exact_search_finds(make_map, kind: str):
    index, rows = make_map(kind).index, crowded_rows()
    queries = noisy(rows[::5], 0.7)
    exact = queries @ rows.T
    similarities, found = index.search(queries, 20)
    assert similarities.dtype == np.float32 and found.dtype == np.int64
    assert similarities.shape == found.shape == (len(queries), 20)
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert all(len(set(row)) == 20 for row in found.tolist())
    np.testing.assert_allclose(
        similarities, np.take_along_axis(exact, found, axis=1), rtol=0, atol=ROUNDED
    )
    assert (found[:, 0] == exact.argmax(axis=1)).mean() >= 0.97
    best = np.argsort(-exact, axis=1)[:, :20]
    shared = [len(set(a) & set(b)) for a, b in zip(best.tolist(), found.tolist(), strict=True)]
    assert np.mean(shared) >= 18


def test_binary_leaves_the_candidates_whose_signs_fit_the_numbers_best(make_map):
    index, rows = make_map('binary').index, crowded_rows().astype(np.float16).astype(np.float32)
    queries = noisy(crowded_rows()[:20], 0.7) @ turning(SIZE)
    likeness = queries @ (rows @ turning(SIZE) > 0).T
    found = candidates('binary', index.index, queries, 2 * FEW)
    for ids, likely in zip(found, likeness, strict=True):
        assert len(set(ids.tolist())) == 2 * FEW
        assert likely[ids].min() >= np.delete(likely, ids).max() - 1e-5
    by_signs = index.index.search(signs(queries), FEW)[1]
    np.testing.assert_array_equal(candidates('binary', index.index, queries, FEW), by_signs)


@pytest.mark.parametrize('kind', COMPRESSED)
def test_a_shortlist_of_all_places_is_exact_search(make_map, kind: str):
    rows = crowded_rows(100)
    index, queries = make_map(kind, rows).index, noisy(rows, 1.5)
    _, found = index.search(queries, 5)
    as_kept = rows.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found[:, 0], (queries @ as_kept.T).argmax(axis=1))


@pytest.mark.parametrize('kind', KINDS)
def test_descriptors_are_read_by_their_rows(make_map, save_map, kind: str):
    rows = crowded_rows()
    for index in (make_map(kind).index, PlaceMap.load(save_map(kind)).index):
        assert (len(index), index.d, index.kind) == (COUNT, SIZE, kind)
        for ids in ([3], [4, 0, 4], np.array([1, 2]), range(7), []):
            found = index.rows(ids)
            assert found.dtype == np.float32 and found.shape == (len(ids), SIZE)
            expected = rows[np.array(ids, int)]
            np.testing.assert_allclose(found, expected, rtol=0, atol=0 if kind == 'flat' else 3e-4)
        index.rows([2])[:] = 0
        assert index.rows([2]).any()
        blocks = np.concatenate(list(index.blocks()))
        np.testing.assert_array_equal(blocks, index.rows(range(COUNT)))
        for ids in ([-1], [0, COUNT], [2**40]):
            with pytest.raises(VprError) as error:
                index.rows(ids)
            assert f'not among the {COUNT}' in line_of(error)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('count', [1, 2, 17, 70])
def test_small_maps_work_by_each_kind(make_map, tmp_path: Path, kind: str, count: int):
    for size in (3, 48, 70):
        rows = unit_rows(count, size)
        make_map(kind, rows).save(tmp_path / str(size))
        loaded = PlaceMap.load(tmp_path / str(size))
        ids, similarities = loaded.search(rows[count // 2], 64)
        assert ids[0] == count // 2 and similarities[0] == pytest.approx(1, abs=ROUNDED)
        assert len(set(ids.tolist())) == len(ids) == min(64, count)


@pytest.mark.parametrize('kind', KINDS)
def test_places_that_all_look_alike_are_found_all_the_same(make_map, kind: str):
    place_map = make_map(kind, np.tile(unit_rows(1, 8), (300, 1)))
    ids, similarities = place_map.search(unit_rows(1, 8)[0], 64)
    assert len(set(ids.tolist())) == 64 and min(ids) >= 0
    assert similarities == pytest.approx(1, abs=ROUNDED)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size', [3, 64])
def test_places_that_look_like_the_opposite_are_found_all_the_same(save_map, kind: str, size: int):
    row = unit_rows(1, size)
    loaded = PlaceMap.load(save_map(kind, np.repeat([row[0], -row[0]], 8, axis=0)))
    ids, similarities = loaded.search(row[0], 16)
    assert set(ids[:8].tolist()) == set(range(8)) and set(ids.tolist()) == set(range(16))
    assert similarities == pytest.approx(np.repeat([1, -1], 8), abs=ROUNDED)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_a_query_that_is_none_is_one_line(make_map, kind: str, bad: float):
    matcher = Matcher(make_map(kind))
    with pytest.raises(VprError) as error:
        matcher.match(np.full(SIZE, bad, np.float32))
    assert 'does not have length 1' in line_of(error)
    assert matcher.match(crowded_rows()[3])[0].similarity == pytest.approx(1, abs=ROUNDED)


# --- what is kept


@pytest.mark.parametrize('kind', KINDS)
def test_a_map_is_loaded_and_saved_with_the_same_bytes(save_map, tmp_path: Path, kind: str):
    folder = save_map(kind)
    loaded = PlaceMap.load(folder)
    loaded.save(tmp_path / 'copy')
    assert checksums(tmp_path / 'copy') == checksums(folder)
    loaded.save(folder)  # over the file that it reads
    assert checksums(tmp_path / 'copy') == checksums(folder)
    assert ('descriptors.npy' in checksums(folder)) == (kind != 'flat')


@pytest.mark.parametrize('kind', KINDS)
def test_a_loaded_map_answers_as_the_one_that_was_built(make_map, tmp_path: Path, kind: str):
    built, queries = make_map(kind), noisy(crowded_rows()[:50], 0.7)
    built.save(tmp_path / 'map')
    again = PlaceMap.load(tmp_path / 'map')
    for before, after in zip(
        built.index.search(queries, 9), again.index.search(queries, 9), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize('views', [True, False])
def test_descriptors_in_memory_are_compared_as_those_in_the_file(
    save_map, monkeypatch, views: bool
):
    """By FAISS alone, or by ours where FAISS is older than 1.11."""
    folder, queries = save_map('fp16'), noisy(crowded_rows()[:50], 0.7)
    monkeypatch.setattr(descriptor_index, 'VIEWS', views)
    index = PlaceMap.load(folder).index
    (folder / 'descriptors.npy').write_bytes(b'')
    similarities, found = index.search(queries, 20)
    rows = crowded_rows().astype(np.float16).astype(np.float32)
    of_each = np.take_along_axis(queries @ rows.T, found, axis=1)
    np.testing.assert_allclose(similarities, of_each, rtol=0, atol=1e-6)
    assert (found[:, 0] == (queries @ rows.T).argmax(axis=1)).mean() >= 0.97
    one = index.search(queries[7:8], 20)
    np.testing.assert_array_equal(one[1][0], found[7])
    assert index.search(np.full((1, SIZE), np.nan, np.float32), 3)[1].tolist() == [[-1, -1, -1]]


def test_the_descriptors_on_the_disk_are_a_plain_array_of_numpy(save_map):
    array = np.load(save_map('pq') / 'descriptors.npy', allow_pickle=False)
    assert array.dtype == np.float16
    np.testing.assert_array_equal(array, crowded_rows().astype(np.float16))


def test_a_flat_index_is_what_faiss_writes_and_answers_as_it_does(save_map):
    path, rows = save_map('flat') / 'index.faiss', crowded_rows()
    there = faiss.IndexFlatIP(SIZE)
    there.add(rows)
    assert path.read_bytes() == faiss.serialize_index(there).tobytes()
    for queries in (noisy(rows[:1], 0.7), noisy(rows[:50], 0.7)):
        ours = PlaceMap.load(path.parent).index.search(queries, 20)
        for one, other in zip(ours, there.search(queries, 20), strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_float16_is_read_as_numpy_reads_it():
    rows = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    for some in (rows, rows[:5], rows[:0]):
        np.testing.assert_array_equal(as_float32(some), some.astype(np.float32))


def test_another_kind_takes_the_files_of_the_one_before_away(save_map):
    assert 'descriptors.npy' in checksums(save_map('pq'))
    folder = save_map('flat')
    assert sorted(checksums(folder)) == ['index.faiss', 'map.yaml', 'places.csv', 'places.npz']
    assert PlaceMap.load(folder).index.kind == 'flat'


_BUILD = """
import sys, hashlib, numpy as np, faiss
faiss.omp_set_num_threads(int(sys.argv[1]))
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.index_file import build_index
rows = np.load(sys.argv[2])
for kind in ('fp16', 'sq8', 'pq', 'hnsw', 'binary'):
    index = build_index(rows, IndexOptions(kind))
    print(hashlib.sha256(index.data()).hexdigest(), index.note)
"""


def test_the_same_descriptors_give_the_same_bytes_whatever_the_threads(tmp_path: Path):
    np.save(tmp_path / 'rows.npy', crowded_rows())
    made = {
        subprocess.run(
            [sys.executable, '-c', _BUILD, threads, tmp_path / 'rows.npy'],
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in '12'
    }
    assert len(made) == 1 and made.pop().count('\n') == len(COMPRESSED)


def test_a_build_leaves_the_threads_of_faiss_alone(make_map):
    before = faiss.omp_get_max_threads()
    make_map('pq')
    assert faiss.omp_get_max_threads() == before


def test_descriptors_are_turned_the_same_way_for_ever():
    for size in (3, 48, 64, 70):
        turn = turning(size)
        assert turn.shape == (size, turned_size(size)) and turn.dtype == np.float32
        np.testing.assert_allclose(turn @ turn.T, np.eye(size), atol=1e-6)
        assert turning(size) is turn and not turn.flags.writeable  # all maps share it
    expected = [[0.5868, -0.4854, 0.6481], [0.7455, 0.6363, -0.1985], [0.3161, -0.5996, -0.7353]]
    np.testing.assert_allclose(turning(3), expected, atol=1e-4)


# --- what it costs, and what is said


@pytest.mark.parametrize('kind', KINDS)
def test_memory_is_as_estimated(make_map, kind: str):
    index = make_map(kind, crowded_rows(5000)).index
    assert index.memory_bytes == pytest.approx(estimated_bytes(kind, 5000, SIZE), rel=0.03)


@pytest.mark.parametrize('kind', KINDS)
def test_a_map_says_which_index_it_has_and_how_well_it_finds(save_map, kind: str):
    folder = save_map(kind)
    values = yaml.safe_load((folder / 'map.yaml').read_text())
    assert values['index'] == ('IndexFlatIP' if kind == 'flat' else kind)
    search = values['search']
    assert search['why'] == 'asked for by name'
    line = summarise(PlaceMap.load(folder))['index']
    assert line.startswith(f'{kind}, ') and line.endswith('asked for by name')
    if kind == 'flat':
        assert (search['recall'], search['queries'], search['shortlist']) == (1.0, 0, 0)
        assert 'exact' in line
    else:
        assert 0.9 <= search['recall'] <= 1 and 300 <= search['queries'] <= 1000
        assert f'finds {100 * search["recall"]:.1f} % of what exact search finds' in line
        assert 'descriptors 0.1 MB' in summarise(PlaceMap.load(folder))['on disk']


def test_the_measured_recall_tells_a_good_shortlist_from_a_bad_one(make_map):
    index = make_map('binary', unit_rows(4000, SIZE)).index
    queries, own = noisy_copies(index)
    best = best_similarities(index, queries)
    np.testing.assert_allclose(best, (queries @ index.rows(range(4000)).T).max(axis=1), atol=1e-6)
    assert 0.1 < own.min() < 0.3 and 0.7 < own.max() < 0.9 and (best >= own - 1e-6).all()
    answered = own >= best - 1e-6
    assert 0.3 < answered.mean() < 1
    reached = []
    for shortlist in (2, 16, 4000):
        index.note = IndexNote('x', shortlist=shortlist)
        reached.append(recall(index, queries[answered], best[answered]))
    assert reached[0] < reached[1] < 1 and reached[2] == 1
    assert index_recall.SHORTLISTS[0] < 4000 and index_recall.ENOUGH < 1


@pytest.mark.parametrize('kind', COMPRESSED)
def test_the_shortest_list_that_is_enough_is_taken(make_map, monkeypatch, kind: str):
    monkeypatch.setattr(index_recall, 'SHORTLISTS', (1, 2, 900))
    note = make_map(kind, unit_rows(1000, SIZE)).index.note
    assert note.shortlist in (1, 2, 900) and note.recall >= 0.97
    monkeypatch.setattr(index_recall, 'ENOUGH', 0.0)
    assert make_map(kind, unit_rows(1000, SIZE)).index.note.shortlist == 1


@pytest.fixture
def threads_at(monkeypatch):
    """A function: what to watch → a list, to which each call adds how many threads FAISS has.

    It has two here, and in another thread as many as before.
    """
    before = faiss.omp_get_max_threads()

    def watch(owner: object, name: str) -> list[int]:
        threads, found = [], getattr(owner, name)

        def watched(*given: object, **more: object) -> object:
            threads.append(faiss.omp_get_max_threads())
            with ThreadPoolExecutor(1) as other:
                assert other.submit(faiss.omp_get_max_threads).result() == before
            return found(*given, **more)

        monkeypatch.setattr(owner, name, watched)
        return threads

    faiss.omp_set_num_threads(2)
    yield watch
    assert faiss.omp_get_max_threads() == 2
    faiss.omp_set_num_threads(before)


@pytest.mark.parametrize('kind', KINDS)
def test_a_search_for_one_image_uses_one_thread_and_leaves_the_others_alone(
    make_map, threads_at, kind: str
):
    index = make_map(kind).index
    threads = threads_at(*((faiss, 'knn') if kind == 'flat' else (index.index, 'search')))
    index.search(crowded_rows()[:1], 5)
    index.search(crowded_rows()[:2], 5)
    assert threads == [1, 2]


@pytest.mark.parametrize('kind', COMPRESSED)
def test_the_few_candidates_of_an_image_are_compared_in_one_thread(
    make_map, threads_at, kind: str
):
    """Also of many images: threads that wait for each other took ten times as long."""
    index = make_map(kind).index
    index.note = IndexNote('x', shortlist=2 * FEW)
    compared = threads_at(descriptor_index, 'best_of_halves')
    likeliest = threads_at(index_kinds, '_likeliest')
    index.search(crowded_rows()[:9], 5)
    assert compared == 9 * [1] and likeliest == 9 * [1] * (kind == 'binary')


@pytest.mark.parametrize('kind', COMPRESSED)
def test_the_candidates_of_some_images_are_in_memory_at_a_time(make_map, monkeypatch, kind: str):
    """However many images are asked for at once, as `evaluate` does."""
    index, asked = make_map(kind).index, []

    def seen(kind: str, faiss_index: object, turned: np.ndarray, count: int) -> np.ndarray:
        asked.append(len(turned))
        return index_kinds.candidates(kind, faiss_index, turned, count)

    monkeypatch.setattr(descriptor_index, 'candidates', seen)
    queries = crowded_rows()[:600]
    similarities, found = index.search(queries, 3)
    assert max(asked) <= 256 and sum(asked) == 600
    for first in (0, 511, 599):
        one = index.search(queries[first : first + 1], 3)
        np.testing.assert_array_equal(found[first], one[1][0])
        np.testing.assert_allclose(similarities[first], one[0][0], rtol=0, atol=1e-6)
