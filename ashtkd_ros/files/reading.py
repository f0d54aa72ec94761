# SPDX-License-Identifier: Apache-2.0
"""Files that somebody else may have written: read within limits, and named without surprises."""

from __future__ import annotations

import json
import os
import select
import stat
import unicodedata
from pathlib import Path

import yaml

YAML_LIMIT = 2**24  # bytes; a table of traverses and settings is far smaller
_NOTHING = 'it has nothing to read now'
_YAML_DEPTH, _YAML_EVENTS = 32, 500_000
_LONGEST_NUMBER = 400  # characters; YAML's base 60 takes minutes for long ones


def open_regular(path: str | os.PathLike, dir_fd: int | None = None) -> int:
    """File descriptor of a regular file, for reading; OSError for any other kind.

    A FIFO or a device is never waited for. `dir_fd`: descriptor of the folder that `path` is in.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise OSError(0, 'it is no regular file')
    if not about.st_size and not _is_ready(handle):
        os.close(handle)
        raise OSError(0, _NOTHING)
    return handle


def _is_ready(handle: int) -> bool:
    """Whether reading would not wait, as it would of a file of /proc that others write to."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def read_regular(path: str | os.PathLike, limit: int, dir_fd: int | None = None) -> bytes:
    """All bytes of a regular file; OSError where it is none, or holds more than `limit` bytes."""
    with open(open_regular(path, dir_fd), 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 2**16) if size <= limit else b''  # what says 0 may have some
    if data is None:  # see `_is_ready`
        raise OSError(0, _NOTHING)
    if max(size, len(data)) > limit:
        raise OSError(0, f'it holds more than {limit} bytes')
    return data


def reason_of(error: BaseException) -> str:
    """What an exception says, without its number and path, on one line."""
    return one_line(getattr(error, 'strerror', None) or str(error) or type(error).__name__)


def parse_yaml(data: bytes) -> object:
    """YAML of plain values; ValueError for what is no such thing.

    Aliases are refused, which make a gigabyte of a kilobyte, and so are nesting beyond need and
    names that stand twice in one table.
    """
    if len(data) > YAML_LIMIT:
        raise ValueError(f'it holds more than {YAML_LIMIT} bytes')
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    try:
        text, depth = data.decode('utf-8'), 0
        for number, event in enumerate(yaml.parse(text, Loader=loader)):
            if number > _YAML_EVENTS:
                raise ValueError(f'it holds more than {_YAML_EVENTS} values')
            if isinstance(event, yaml.AliasEvent):
                raise ValueError('it has an alias')
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _YAML_DEPTH:
                raise ValueError('it is nested too deeply')
        loading = loader(text)
        node = loading.get_single_node()
        _check_nodes(node)
        return None if node is None else loading.construct_document(node)
    except UnicodeDecodeError as error:
        raise ValueError('it is no UTF-8') from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # Beside its own exceptions, PyYAML lets those of its conversions through.
        raise ValueError(f'it is no YAML of plain values: {one_line(str(error))}') from error
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def _check_nodes(node: yaml.Node | None) -> None:
    """ValueError for a table that names something twice or takes another in, and long numbers."""
    if isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
            if name in names or key.tag.endswith(':merge'):
                raise ValueError(f'{one_line(str(name))[:40]} stands twice in one table')
            names.add(name)
            _check_nodes(key)
            _check_nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_nodes(value)
    elif isinstance(node, yaml.ScalarNode):
        number = node.tag.rpartition(':')[2] in ('int', 'float', 'timestamp')
        if number and len(node.value) > _LONGEST_NUMBER:
            raise ValueError('it has a number of too many digits')


def one_line(text: str) -> str:
    """Text of any origin as one line that no terminal obeys: control characters are escaped."""
    if text.isascii() and text.isprintable():
        return text
    words = ' '.join(text.split('\n')).strip() if '\n' in text else text
    return ''.join(c if _harmless(c) else c.encode('unicode_escape').decode() for c in words)


def _harmless(character: str) -> bool:
    """Neither a control character nor one that reorders or hides text, nor half of a pair."""
    return unicodedata.category(character) not in ('Cc', 'Cf', 'Cs', 'Co', 'Zl', 'Zp')


def inside(folder: Path, name: str) -> Path | None:
    """The file that `name` is in a folder; None where it leads out of it, by links as well."""
    try:
        root = Path(folder).resolve()
        found = (root / name).resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
        return None
    return found if found.is_relative_to(root) else None


def read_text(path: str | os.PathLike, limit: int = 2**28) -> str:
    """UTF-8 text of a regular file, without a byte order mark; OSError or ValueError for another.

    `limit` in bytes. Line ends stay as they are.
    """
    return read_regular(path, limit).decode('utf-8-sig')


def is_file(path: str | os.PathLike) -> bool:
    """Whether a regular file is there; False as well where one may not look, for loops of links,
    and for names that are too long or hold a zero byte."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: str | os.PathLike) -> bool:
    """Whether a folder is there; False where `is_file` is False."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def why_missing(path: str | os.PathLike) -> str:
    """Why nothing that could be read is at a path, in brackets; empty: it is just not there."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return ''
    except (OSError, ValueError) as error:
        return f' ({reason_of(error)})'
    return ' (it is of another kind)'


def parse_json(text: str) -> object:
    """JSON of finite numbers; ValueError for what is no such thing or nested beyond need."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def _no_number(text: str) -> float:
    raise ValueError(f'{text} is no number')


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) < 1e300 else _no_number(text[:20])


def _whole(text: str) -> int:
    return int(text) if len(text) < 20 else _no_number(text[:20])
