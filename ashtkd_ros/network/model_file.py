# SPDX-License-Identifier: Apache-2.0
"""An .onnx file, read within limits; a model that needs other files is refused.

ONNX Runtime would look for such files in the working directory, and the checksum of the model does
not cover them. Only the wire format of protobuf is read here, since robots do not have the package
onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.text import reason_of

_LIMIT = 2**31  # bytes; protobuf has no larger message
_DEPTH = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Message → number of a field → the message in it, for every path that leads to a tensor.
_INNER = {
    'model': {7: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'function': {7: 'node', 11: 'attribute'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'node': {5: 'attribute'},
    'attribute': {
        **dict.fromkeys((5, 10), 'tensor'),
        **dict.fromkeys((6, 11), 'graph'),
        **dict.fromkeys((22, 23), 'sparse'),
    },
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {},
}
_EXTERNAL_DATA, _DATA_LOCATION, _OP_TYPE = 13, 14, 4


def not_a_model(path: Path, why: str) -> VprError:
    """What the user is told of a file that ONNX Runtime cannot load."""
    return VprError(
        f'{path}: not a model that ONNX Runtime can load ({why}); copy it again, or name another'
    )


def read_model(path: Path) -> bytes:
    """All bytes of a model; VprError if it cannot be read, or if it needs other files."""
    try:
        data = read_regular(path, _LIMIT)
    except (OSError, ValueError) as error:
        raise VprError(
            f'{path}: the model cannot be read ({reason_of(error)}); name an .onnx file'
        ) from error
    try:
        outside = _leads_outside(memoryview(data), 'model', 0)
    except ValueError as error:
        raise not_a_model(path, str(error)) from error
    if outside:
        raise VprError(
            f'{path}: keeps weights in other files, which its checksum does not cover; save it '
            "as one file: python -c \"import onnx; onnx.save(onnx.load('MODEL'), 'ONE.onnx')\""
        )
    return data


def _leads_outside(data: memoryview, message: str, depth: int) -> bool:
    """Whether a message has a tensor, or a compiled part, in another file."""
    if depth > _DEPTH:
        raise ValueError('it is nested too deeply')
    inner = _INNER[message]
    for field, kind, value in _fields(data):
        if message == 'tensor' and (
            field == _EXTERNAL_DATA or (field, kind) == (_DATA_LOCATION, _VARINT) and value
        ):
            return True
        if message == 'node' and field == _OP_TYPE and kind == _BYTES and value == b'EPContext':
            return True
        if field in inner:
            if kind != _BYTES:
                raise ValueError(f'field {field} of a {message} has the wrong type')
            if _leads_outside(value, inner[field], depth + 1):
                return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, kind and value of each field of a message; ValueError if it is not valid."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        value: int | memoryview = 0
        if kind == _VARINT:
            value, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        if not field or kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise ValueError('it is not an ONNX file')
        if at > end:
            raise ValueError('it is truncated')
        yield field, kind, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of up to ten bytes, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError('it is truncated')
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError('it is not an ONNX file')
