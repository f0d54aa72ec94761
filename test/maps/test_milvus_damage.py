# SPDX-License-Identifier: Apache-2.0
"""What comes from Milvus is checked like a file; where none answers, one line says so, soon."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, unit_rows
from milvus_fixtures import needs_milvus

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps import milvus_store
from ashtkd_ros.maps.milvus_map import opened
from ashtkd_ros.maps.milvus_push import push
from ashtkd_ros.maps.milvus_store import Address, Store, connected
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['map_fixtures', 'milvus_fixtures']
ODD = [None, '', '7', 7.0, np.nan, -np.inf, True, [1], 2**62, -1, 'x' * 60_000, '\0', b'']
EVERY = np.arange(5)


@pytest.fixture
def pushed(rich: Path, address: Address) -> Address:
    push(PlaceMap.load(rich), address)
    return address


def pull(address: Address, folder: Path) -> PlaceMap:
    folder.mkdir(exist_ok=True)
    with opened(address) as source:
        source.map()
        return source.pulled(EVERY, folder)


def spoilt(monkeypatch: pytest.MonkeyPatch, change: Callable[[list[dict]], list[dict]]) -> None:
    """Milvus answers every query with rows that are changed."""
    real = Store.query
    monkeypatch.setattr(
        Store, 'query', lambda self, *args: change([dict(e) for e in real(self, *args)])
    )


FIELDS = ['row', 'descriptor', 'place', 'stamp', 'image', 'traverse', 'posed', 'x', 'qw']
FIELDS += ['located', 'lat', 'source', 'label', 'picture', 'thumbnail', 'local', 'note']


@needs_milvus
@pytest.mark.parametrize('field', FIELDS)
def test_a_field_of_another_type_or_range_is_refused(
    pushed: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
):
    real = {'query': Store.query}
    for odd in ODD:
        if odd is True and field in ('posed', 'located'):  # as it is
            continue

        def query(self: Store, *args: object, odd: object = odd) -> list[dict]:
            found = [dict(e) for e in real['query'](self, *args)]
            for entity in found:
                if field in entity and (field == 'note') == (entity['row'] < 0):
                    entity[field] = odd
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Store, 'query', query)
            with pytest.raises(VprError) as error:
                pull(pushed, tmp_path / 'new')
        text = line_of(error)
        assert 'push the map again' in text or field == 'note', (odd, text)
        assert len(text) < 600, odd


@needs_milvus
@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('descriptor', [0.0] * 4),
        ('descriptor', [1.0, 0.0, 0.0]),
        ('descriptor', [np.nan, 0.0, 0.0, 1.0]),
        ('descriptor', ['a'] * 4),
        ('local', 'AAAA'),
        ('local', 'A' * 32),
        ('local', '!' * 32),
        ('thumbnail', 'AAAA'),
        ('qw', 0.5),
        ('x', 1e12),
        ('place', 5),
        ('traverse', 1),
        ('label', 'another'),
    ],
)
def test_what_is_no_part_of_a_map_is_refused(
    pushed: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: object
):
    spoilt(
        monkeypatch,
        lambda found: [{**e, field: value} if field in e and e['row'] == 3 else e for e in found],
    )
    with pytest.raises(VprError) as error:
        pull(pushed, tmp_path / 'new')
    assert 'is damaged' in line_of(error) and 'push the map again' in line_of(error)


@needs_milvus
def test_a_row_that_is_missing_is_told(
    pushed: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spoilt(monkeypatch, lambda found: [e for e in found if e['row'] != 3])
    with pytest.raises(VprError, match='row 3 is missing'):
        pull(pushed, tmp_path / 'new')


@needs_milvus
def test_a_description_that_was_cut_or_changed_is_refused(
    pushed: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    changes = [
        lambda e: {**e, 'note': e['note'][:-80]},
        lambda e: {**e, 'note': e['note'].replace('site', 'town')},
        lambda e: {**e, 'note': '{' * 500},
    ]
    for change in changes:
        with monkeypatch.context() as patch:
            spoilt(patch, lambda found: [change(e) if 'note' in e else e for e in found])  # noqa: B023
            with pytest.raises(VprError) as error:
                pull(pushed, tmp_path / 'new')
            assert 'map.yaml is' in line_of(error)
    with connected(pushed) as store:
        store._client.delete(store.current(), filter='row < 0')
    with pytest.raises(VprError) as error:
        pull(pushed, tmp_path / 'new')
    assert 'its description is lost; push the map again' in line_of(error)


@needs_milvus
@pytest.mark.parametrize(
    'hits',
    [[], [[(0, 1.0)]], [[(0, 1.0), (5, 0.5)]], [[(0, 'a'), (1, 0.5)]], [[(-1, 1.0), (1, 0.5)]]],
)
def test_answers_that_are_none_are_refused(
    pushed: Address, monkeypatch: pytest.MonkeyPatch, hits: list
):
    with opened(pushed) as source:
        index = source.map().index
        monkeypatch.setattr(Store, 'search', lambda *_: hits)
        with pytest.raises(VprError) as error:
            index.search(unit_rows(1, 4), 2)
        assert 'does not give 2 places' in line_of(error)


@needs_milvus
def test_rows_and_queries_that_there_are_not(pushed: Address):
    with opened(pushed) as source:
        index, local = source.map().index, source.map().local
        for ask in (lambda: index.rows([5]), lambda: index.rows([-1]), lambda: local.rows([7])):
            with pytest.raises(VprError) as error:
                ask()
            assert 'is not among the 5' in line_of(error)
        with pytest.raises(VprError) as error:
            index.search(unit_rows(1, 3), 2)
        assert 'Milvus does not do it' in line_of(error)
        with pytest.raises(VprError) as error:
            index.search(unit_rows(1, 4), 20_000)
        assert '16384' in line_of(error)


@needs_milvus
def test_a_map_that_is_replaced_while_it_is_read_is_told(pushed: Address):
    with opened(pushed) as source:
        source.store.create('campus_ashtkd_00000000', 4, {'mine': int})
        source.store.switch('campus_ashtkd_00000000')
        assert len(source.descriptors(EVERY)) == 5  # as long as it is there
        source.store.drop(source.collection)
        with pytest.raises(VprError) as error:
            source.descriptors(EVERY)
        assert 'was replaced meanwhile' in line_of(error)


@needs_milvus
def test_rows_that_are_lost_are_told_at_once(pushed: Address):
    with connected(pushed) as store:
        store._client.delete(store.current(), filter='row == 3')
    with pytest.raises(VprError) as error, opened(pushed):
        pass
    assert 'has 4 of 5 pictures' in line_of(error)


@pytest.mark.parametrize(
    'text',
    [
        'milvus://', 'milvus:/x', 'milvus:', 'milvus://a.db', 'milvus:///x/a.db/',
        'milvus:///x/a.db/1st', 'milvus:///x/a.db/a-b', 'milvus:///x/a.db/' + 'n' * 201,
        'milvus://host/campus', 'milvus://host:0/campus', 'milvus://host:99999/campus',
        'milvus://user:secret@host:1/campus', 'milvus://host:19530/a/b', 'milvus:///x/a\0.db/c',
        'milvus://host:19530', 'milvus://host:١/c', 'http://host:19530/c', '',
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(text: str):
    with pytest.raises(VprError) as error:
        Address.parse(text)
    assert 'is neither milvus://HOST:PORT/NAME nor' in line_of(error)


def test_what_an_address_says():
    assert Address.parse('milvus://10.0.0.1:19530/campus') == Address(
        '10.0.0.1:19530', 'campus', False
    )
    lite = Address.parse('milvus:///data/fleet.db/campus')
    assert lite == Address('/data/fleet.db', 'campus', True)
    assert str(lite) == 'milvus:///data/fleet.db/campus'
    assert Address.parse('milvus://[::1]:19530/c').where == '[::1]:19530'
    assert Address.parse('milvus://a:1/b.db/c').is_file


@needs_milvus
def test_a_server_that_is_down_or_none_is_told_soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(milvus_store, '_CONNECT_S', 2.0)
    web = http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)
    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, 'log_message', lambda *_: None)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with socket.create_server(('127.0.0.1', 0)) as silent:
        places = {
            '127.0.0.1:9': 'Connection refused',
            'nowhere.invalid:19530': 'nothing answers',
            f'127.0.0.1:{web.server_port}': 'no Milvus answers',
            f'127.0.0.1:{silent.getsockname()[1]}': 'no Milvus answers',
        }
        for where, words in places.items():
            started = time.monotonic()
            with (
                pytest.raises(VprError) as error,
                connected(Address.parse(f'milvus://{where}/campus')),
            ):
                pass
            assert words in line_of(error) and time.monotonic() - started < 15.0
    web.shutdown()
    web.server_close()


@needs_milvus
def test_a_connection_of_before_is_not_taken_for_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    monkeypatch.setattr(milvus_store, '_CONNECT_S', 2.0)
    server, database, port = start_server_in_thread(
        data_dir=str(tmp_path / 'server'), host='127.0.0.1', port=0
    )
    address = Address.parse(f'milvus://127.0.0.1:{port}/campus')
    try:
        with connected(address):
            pass
    finally:
        server.stop(grace=0).wait()
        database.close()
    with (
        socket.create_server(('127.0.0.1', port)),
        pytest.raises(VprError) as error,
        connected(address),
    ):
        pass
    assert 'no Milvus answers' in line_of(error)


def test_without_pymilvus_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, 'pymilvus', None)
    with (
        pytest.raises(VprError) as error,
        connected(Address.parse('milvus://127.0.0.1:9/campus')),
    ):
        pass
    assert 'pip install "pymilvus[milvus-lite]"' in line_of(error)


@needs_milvus
def test_without_milvus_lite_one_line_says_how_to_get_it(
    address: Address, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'milvus_lite']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'milvus_lite', None)
    with pytest.raises(VprError) as error, connected(address, create=True):
        pass
    assert 'needs Milvus Lite: pip install' in line_of(error)


def test_nothing_loads_pymilvus_before_it_is_asked_for():
    code = 'import sys; from ashtkd_ros.commands import build_map, map_tools; '
    code += 'from ashtkd_ros.ros.node import parameters; '
    code += 'print([m for m in sys.modules if "milvus" in m.partition(".")[0]])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr
