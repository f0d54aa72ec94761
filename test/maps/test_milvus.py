# SPDX-License-Identifier: Apache-2.0
"""A map in Milvus: the same answers, the same map when it comes back, nobody's data lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, places_along_x, unit_rows
from map_fixtures import PICTURE
from milvus_fixtures import needs_milvus

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps import milvus_store
from ashtkd_ros.maps.milvus_map import opened
from ashtkd_ros.maps.milvus_push import check_place, push
from ashtkd_ros.maps.milvus_store import Address, Store, connected
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.places_file import write_columns
from ashtkd_ros.recognition.matcher import Matcher

pytest_plugins = ['map_fixtures', 'milvus_fixtures']
pytestmark = needs_milvus


SERVER = """
import sys, time
from milvus_lite.adapter.grpc.server import start_server_in_thread
running = start_server_in_thread(data_dir=sys.argv[1], host='127.0.0.1', port=0)
print(running[2], flush=True)
time.sleep(120.0)
"""


def names(where: Address) -> list[str]:
    with connected(where) as store:
        return store.names()


def stored(where: Address) -> list[int]:
    """The numbers of the places there."""
    with opened(where) as source:
        return source.map().places.ids.tolist()


def test_the_five_best_of_ten_thousand_places_are_those_of_faiss(fake_network, address: Address):
    rows = unit_rows(10_000, 64)
    fake_network.dimensions = 64
    place_map = PlaceMap.build(rows, places_along_x(np.arange(10_000)), fake_network)
    push(place_map, address)
    queries = unit_rows(50, 64, seed=1)
    with opened(address) as source:
        there = source.map()
        assert there.places == place_map.places
        similarities, found = there.index.search(queries, 5)
        expected, best = place_map.index.search(queries, 5)
        assert (found == best).all()
        assert np.abs(similarities - expected).max() < 1e-5
        some = np.array([9_999, 3, 3, 512])
        assert (there.descriptors(some) == rows[some]).all()
        answers = [Matcher(m).match(queries[0], 5) for m in (there, place_map)]
        assert [c.place for c in answers[0]] == [c.place for c in answers[1]]


def test_a_map_comes_back_as_it_was(rich: Path, address: Address, tmp_path: Path):
    before = PlaceMap.load(rich)
    push(before, address)
    (tmp_path / 'new').mkdir()
    with opened(address) as source:
        pulled = source.pulled(np.arange(5), tmp_path / 'new')
        pulled.save(tmp_path / 'back', tmp_path / 'new' / 'thumbnails', rich / 'route.png')
        local = source.map().local.rows([4, 0])
    assert (local == before.local.rows([4, 0])).all()
    for name in ('map.yaml', 'index.faiss', 'places.npz', 'local.npy', 'thumbnails/000004.jpg'):
        assert (tmp_path / 'back' / name).read_bytes() == (rich / name).read_bytes(), name


def test_names_that_are_not_utf_8_and_extreme_numbers_come_back(fake_network, address: Address):
    texts = ['50%.jpg', '%41', 'Größe "1"', "it's \\ 'x'", 'a\udcffb\udcc3', '東京\n', '']
    places = [
        Place(
            7 * k, 1e19 / 3, -k, Pose(-1e-7 * k, 1e6 / 3, 0.1) if k % 2 else None, text, text,
            geo=(-0.1, 1 / 3) if k % 3 else None,
        )
        for k, text in enumerate(texts)
    ]  # fmt: skip
    place_map = PlaceMap.build(unit_rows(7, 4), places, fake_network)
    push(place_map, address)
    with opened(address) as source:
        assert write_columns(source.map().places) == write_columns(place_map.places)
        assert source.near((-1.0, 0.0), (0.0, 1e9)).tolist() == [1, 3, 5]
        assert source.near((-3.5e-7, 0.0), (-2e-7, 1e9)).tolist() == [3]


def test_a_picture_that_is_too_large_is_left_out_and_told(
    fake_network, address: Address, tmp_path: Path
):
    (tmp_path / 't').mkdir()
    large = PICTURE * 1000
    for row, data in enumerate((large, PICTURE)):
        (tmp_path / 't' / f'{row:06d}.jpg').write_bytes(data)
    places = [
        Place(k, 0.0, k, None, '', thumbnail=sha256_of(data))
        for k, data in enumerate((large, PICTURE))
    ]
    place_map = PlaceMap.build(unit_rows(2, 4), places, fake_network)
    place_map.save(tmp_path / 'map', tmp_path / 't')
    assert push(place_map, address).pictures == 1
    (tmp_path / 'new').mkdir()
    with opened(address) as source:
        pulled = source.pulled(np.arange(2), tmp_path / 'new')
    assert [bool(p.thumbnail) for p in pulled.places] == [False, True]


def test_a_server_is_as_good_and_may_end_at_any_moment(
    rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(milvus_store, '_ANSWER_S', 3.0)
    before = PlaceMap.load(rich)
    command = [sys.executable, '-c', SERVER, str(tmp_path / 'server')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = Address.parse(f'milvus://127.0.0.1:{server.stdout.readline().strip()}/c')
            push(before, address)
            push(before, address, over=True)
            assert len(names(address)) == 1
            with opened(address) as source:
                there = source.map()
                assert there.places == before.places
                server.kill()
                server.wait()
                asks = (
                    lambda: there.search(unit_rows(1, 4)[0], 2),
                    lambda: there.descriptors(np.arange(5)),
                    lambda: there.local.rows([1]),
                )
                for ask in asks:
                    started = time.monotonic()
                    with pytest.raises(VprError) as error:
                        ask()
                    assert str(address) in line_of(error) and time.monotonic() - started < 20.0
            with pytest.raises(VprError) as error:
                push(before, address, over=True)
            assert 'nothing answers' in line_of(error)
        finally:
            server.kill()


def test_a_map_is_replaced_only_when_asked(built: PlaceMap, fake_network, address: Address):
    push(built, address)
    with pytest.raises(VprError) as error:
        push(built, address)
    assert 'holds a map already' in line_of(error)
    other = PlaceMap.build(unit_rows(2, 4), places_along_x(range(2)), fake_network)
    assert push(other, address, over=True).strays == []
    assert stored(address) == [0, 1] and len(names(address)) == 1


@pytest.mark.parametrize('step', ['create', 'insert', 'flush', 'count', 'switch'])
def test_a_push_that_fails_leaves_the_old_map(
    built: PlaceMap, address: Address, monkeypatch: pytest.MonkeyPatch, step: str
):
    push(built, address)
    before = names(address)

    def fails(*_) -> None:
        raise VprError('full')

    with monkeypatch.context() as patch:
        patch.setattr(Store, step, fails)
        with pytest.raises(VprError, match='full'):
            push(built, address, over=True)
    assert names(address) == before and stored(address) == list(range(6))


def test_of_two_pushes_at_once_one_is_refused(
    built: PlaceMap, address: Address, monkeypatch: pytest.MonkeyPatch
):
    real, done = Store.flush, []

    def meanwhile(store: Store, collection: str) -> None:
        real(store, collection)
        if not done:
            done.append(collection)
            push_inside(store)

    def push_inside(store: Store) -> None:
        store.create('campus_ashtkd_00000000', 4, {})
        store.switch('campus_ashtkd_00000000')

    monkeypatch.setattr(Store, 'flush', meanwhile)
    with pytest.raises(VprError) as error:
        push(built, address)
    assert 'was replaced meanwhile' in line_of(error)
    assert names(address) == ['campus_ashtkd_00000000']


def _push_slowly(folder: Path, address: Address) -> None:
    flush = Store.flush

    def slow(store: Store, collection: str) -> None:
        flush(store, collection)
        Path(folder, 'slow').touch()
        time.sleep(60.0)

    Store.flush = slow
    push(PlaceMap.load(folder), address, over=True)


def test_a_killed_push_leaves_the_old_map_and_is_told_by_the_next(
    saved: Path, built: PlaceMap, address: Address
):
    push(built, address)
    process = multiprocessing.get_context('spawn').Process(
        target=_push_slowly, args=(saved, address)
    )
    process.start()
    end = time.monotonic() + 60.0
    while not (saved / 'slow').exists():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.1)
    with pytest.raises(VprError) as error:  # Milvus Lite is for one process at a time
        stored(address)
    assert 'one program at a time' in line_of(error)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert stored(address) == list(range(6)) and len(names(address)) == 2
    assert len(push(built, address, over=True).strays) == 1


def test_what_others_made_is_never_touched(built: PlaceMap, address: Address, tmp_path: Path):
    with connected(address, create=True) as store:
        store.create('campus', 4, {'mine': int})
        store.create('other', 4, {'mine': int})
    for over in (False, True):
        for act in (lambda: push(built, address, over), lambda: check_place(address, over)):  # noqa: B023
            with pytest.raises(VprError) as error:
                act()
            assert 'did not make' in line_of(error)
    with pytest.raises(VprError) as error:
        stored(address)
    assert 'is no map' in line_of(error)
    alias = Address.parse(f'milvus://{address.where}/theirs')
    with connected(alias) as store:
        store.switch('other')
    with pytest.raises(VprError) as error:
        push(built, alias, over=True)
    assert 'did not make' in line_of(error) and names(address) == ['campus', 'other']


def test_a_folder_or_file_that_is_not_milvus_lites_stays_as_it_is(built: PlaceMap, tmp_path: Path):
    (tmp_path / 'mine.db').mkdir()
    (tmp_path / 'mine.db' / 'notes').write_text('mine')
    (tmp_path / 'file.db').write_text('mine')
    for name in ('mine.db', 'file.db', 'no/such.db'):
        with pytest.raises(VprError) as error:
            push(built, Address.parse(f'milvus://{tmp_path}/{name}/campus'))
        assert line_of(error)
    assert os.listdir(tmp_path / 'mine.db') == ['notes']
    assert sorted(os.listdir(tmp_path)) == ['file.db', 'mine.db']


def test_reading_makes_nothing(address: Address, tmp_path: Path, built: PlaceMap):
    with pytest.raises(VprError) as error:
        stored(address)
    assert 'there is no' in line_of(error) and os.listdir(tmp_path) == []
    push(built, address)
    with pytest.raises(VprError) as error:
        stored(Address.parse(f'milvus://{address.where}/lab'))
    assert 'there is no collection lab' in line_of(error)


def test_another_models_map_is_refused(built: PlaceMap, address: Address, fake_network):
    push(built, address)
    with opened(address, fake_network):
        pass
    fake_network.hash = '1' * 64
    with pytest.raises(VprError) as error, opened(address, fake_network):
        pass
    assert 'built with model fake (00000000)' in line_of(error)
