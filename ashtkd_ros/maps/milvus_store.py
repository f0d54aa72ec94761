# SPDX-License-Identifier: Apache-2.0
"""Collections of Milvus: a server by its address, or Milvus Lite, which is a folder NAME.db.

The only file that imports pymilvus, and only when somebody asks for a collection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.text import one_line

SCHEME = 'milvus://'
TOKEN = 'MILVUS_TOKEN'  # variable of the environment
LONGEST_FIELD = 65_535  # bytes of a text
MOST_HITS = 16_384  # of a search
_URL = re.compile(SCHEME + r'(?P<where>.+)/(?P<name>[A-Za-z_][A-Za-z0-9_]{0,199})')
_SERVER = re.compile(r'(?P<host>[^\s/@]+):(?P<port>[0-9]{1,5})')
_CONNECT_S, _ANSWER_S = 5.0, 60.0
_LITE_HAS = {'LOCK', 'collections'}  # in the folder of Milvus Lite


@dataclass(frozen=True)
class Address:
    """`where`: HOST:PORT of a server, or the path of Milvus Lite; `name`: of the collection."""

    where: str
    name: str
    is_file: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address milvus://HOST:PORT/NAME or milvus://PATH.db/NAME; VprError for others."""
        found = _URL.fullmatch(text)
        server = found and _SERVER.fullmatch(found['where'])
        is_file = bool(found) and found['where'].endswith('.db') and '\0' not in text
        if not is_file and not (server and 0 < int(server['port']) < 2**16):
            raise VprError(
                f'{text}: is neither milvus://HOST:PORT/NAME nor milvus://PATH.db/NAME, where '
                'NAME is up to 200 letters, digits and _, and does not begin with a digit'
            )
        where = os.path.expanduser(found['where']) if is_file else found['where']
        return cls(where, found['name'], is_file)

    def __str__(self) -> str:
        return f'{SCHEME}{self.where}/{self.name}'


def is_address(text: object) -> bool:
    """Whether a text is meant as the address of a collection, right or wrong."""
    return str(text).startswith('milvus:')


def load_client() -> ModuleType:
    """pymilvus, which is told to print nothing; VprError where it is not installed."""
    os.environ.setdefault('GRPC_VERBOSITY', 'NONE')
    try:
        import pymilvus
    except ImportError as error:
        raise VprError(
            f'{SCHEME} needs pymilvus ({one_line(str(error))}): pip install '
            '"pymilvus[milvus-lite]"'
        ) from error
    for name in ('pymilvus', *logging.root.manager.loggerDict):  # of what goes wrong we tell
        if name.partition('.')[0] == 'pymilvus':
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in ('milvus_lite', 'grpc._server'):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return pymilvus


@contextlib.contextmanager
def connected(address: Address, create: bool = False) -> Iterator[Store]:
    """What is stored at an address, while the body runs; VprError, soon, where nothing answers.

    `create`: a folder of Milvus Lite that is not there is made.
    """
    library = load_client()
    if address.is_file:
        _check_file(address, create)
    else:
        _check_server(address)
    uri = address.where if address.is_file else f'http://{address.where}'
    token = '' if address.is_file else os.environ.get(TOKEN, '')
    try:
        # pymilvus hands out a connection of before unasked: a dedicated one is made now
        client = library.MilvusClient(uri, token=token, timeout=_CONNECT_S, dedicated=True)
    except Exception as error:  # pymilvus raises errors of many kinds
        raise VprError(_no_connection(address, error)) from error
    try:
        yield Store(library, client, address)
    finally:
        with contextlib.suppress(Exception):
            client.close()
        if address.is_file:
            _release(address)


def _no_connection(address: Address, error: Exception) -> str:
    if not address.is_file:
        return f'{address}: no Milvus answers there ({_reason(error)}); start it, or set {TOKEN}'
    try:
        import milvus_lite  # noqa: F401
    except ImportError:
        return f'{address}: needs Milvus Lite: pip install "pymilvus[milvus-lite]"'
    return (
        f'{address}: Milvus Lite cannot open {address.where} ({_reason(error)}); one program at a '
        'time may have it open'
    )


def _check_file(address: Address, create: bool) -> None:
    """VprError where a path is neither free nor Milvus Lite's, which would write into anything."""
    path = Path(address.where)
    try:
        inside = set(os.listdir(path))
    except FileNotFoundError as error:
        if create and path.parent.is_dir():
            return
        lacking = path.parent if create else path
        raise VprError(f'{address}: there is no {lacking}; map_tools push makes one') from error
    except OSError as error:
        why = 'it is a file' if isinstance(error, NotADirectoryError) else _reason(error)
        raise VprError(f"{address}: {path} is not Milvus Lite's ({why})") from error
    if not inside >= _LITE_HAS and (inside or not create):
        raise VprError(f"{address}: the folder {path} is not Milvus Lite's; give another name")


def _check_server(address: Address) -> None:
    host, _, port = address.where.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), _CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        raise VprError(
            f'{address}: nothing answers at {address.where} ({_reason(error)}); is Milvus running?'
        ) from error


def _release(address: Address) -> None:
    """Milvus Lite keeps a folder until the process ends; another process may then want it."""
    with contextlib.suppress(Exception):  # a part of it that may change
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(address.where)


def _reason(error: BaseException) -> str:
    text = getattr(error, 'message', None) or getattr(error, 'strerror', None) or str(error)
    return one_line(str(text) or type(error).__name__)[:300]


class Store:
    """An open connection. All methods raise VprError where Milvus does not do what it is asked.

    A name of ours is an alias: it can be given to another collection in one step.
    """

    def __init__(self, library: ModuleType, client: Any, address: Address):
        self._library, self._client, self.address = library, client, address

    def current(self) -> str | None:
        """The collection that the address means: one of that name, or what is behind the alias."""
        names = self.names()
        if self.address.name in names:
            return self.address.name
        aliased = self._aliased()
        return aliased if aliased in names else None

    def names(self) -> list[str]:
        """All collections."""
        return list(self._call('list_collections'))

    def _aliased(self) -> str | None:
        try:
            found = self._client.describe_alias(self.address.name, timeout=_ANSWER_S)
        except Exception:  # there is no such alias; what else is wrong, the next call says
            return None
        return found.get('collection_name')

    def switch(self, collection: str) -> None:
        """Give the name to a collection."""
        change = 'create_alias' if self._aliased() is None else 'alter_alias'
        self._call(change, collection, self.address.name)

    def fields(self, collection: str) -> set[str]:
        """The names of the fields."""
        return {field['name'] for field in self._call('describe_collection', collection)['fields']}

    def create(self, collection: str, dimensions: int, fields: dict[str, type]) -> None:
        """Make a collection with `row`, `descriptor` and fields of int, float, bool or str."""
        kinds = self._library.DataType
        of = {int: kinds.INT64, float: kinds.DOUBLE, bool: kinds.BOOL, str: kinds.VARCHAR}
        schema = self._library.MilvusClient.create_schema(auto_id=False)
        schema.add_field('row', kinds.INT64, is_primary=True)
        schema.add_field('descriptor', kinds.FLOAT_VECTOR, dim=dimensions)
        for name, kind in fields.items():
            # Texts stay on the server's disk: with pictures they are what is large.
            more = {'max_length': LONGEST_FIELD, 'mmap_enabled': True} if kind is str else {}
            schema.add_field(name, of[kind], **more)
        index = self._library.MilvusClient.prepare_index_params()
        index.add_index('descriptor', index_type='FLAT', metric_type='IP')
        options = {'schema': schema, 'index_params': index, 'consistency_level': 'Strong'}
        self._call('create_collection', collection, **options)

    def insert(self, collection: str, entities: list[dict[str, Any]]) -> None:
        """Add rows."""
        self._call('insert', collection, entities)

    def flush(self, collection: str) -> None:
        """Wait until all rows are stored."""
        self._call('flush', collection)

    def load(self, collection: str) -> None:
        """Have it in Milvus's memory, without which it is not searched."""
        self._call('load_collection', collection)

    def drop(self, collection: str) -> None:
        """Remove a collection."""
        self._call('drop_collection', collection)

    def query(self, collection: str, chosen: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """The rows for which `chosen` holds, in any order."""
        options = {'filter': chosen, 'output_fields': list(fields), 'limit': MOST_HITS}
        return list(self._call('query', collection, consistency_level='Strong', **options))

    def count(self, collection: str) -> int:
        """How many rows are of places."""
        found = self._call(
            'query',
            collection,
            filter='row >= 0',
            output_fields=['count(*)'],
            consistency_level='Strong',
        )
        return int(found[0]['count(*)'])

    def search(
        self, collection: str, descriptors: np.ndarray, k: int
    ) -> list[list[tuple[Any, Any]]]:
        """float32 (B, D) → for each the rows of places and their inner products, best first."""
        found = self._call(
            'search',
            collection,
            data=list(descriptors),
            anns_field='descriptor',
            filter='row >= 0',
            limit=k,
            search_params={'metric_type': 'IP'},
            output_fields=['row'],
            consistency_level='Strong',
        )
        return [[(hit['entity']['row'], hit['distance']) for hit in hits] for hits in found]

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, timeout=_ANSWER_S, **options)
        except Exception as error:  # pymilvus raises errors of many kinds
            raise VprError(
                f'{self.address}: Milvus does not do it ({method}: {_reason(error)})'
            ) from error
