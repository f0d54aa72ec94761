# SPDX-License-Identifier: Apache-2.0
"""places.npz of a map: what places.csv says, as columns that are read at once.

Maps of older formats have the table alone. `numpy.load` reads the file; texts are one array of
bytes (UTF-8) and the end of each text in it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from ashtkd_ros.files.npy import npy_header
from ashtkd_ros.maps.places import Places, Texts

PLACES_FILE = 'places.npz'
_ENDS = '_ends'


def write_columns(places: Places) -> bytes:
    """The bytes of places.npz: the same places give the same bytes."""
    arrays = {name: np.ascontiguousarray(getattr(places, name)) for name in Places.NUMBERS}
    for name in Places.TEXTS:
        texts = getattr(places, name)
        arrays |= {name: texts.blob, name + _ENDS: texts.ends}
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as archive:
        for name, array in arrays.items():
            header = npy_header(array.dtype.str, array.shape)
            # An entry that is made thus has always the same date.
            archive.writestr(zipfile.ZipInfo(f'{name}.npy'), header + array.tobytes())
    return data.getvalue()


def read_columns(data: bytes) -> Places:
    """The places of places.npz; ValueError says what is wrong."""
    arrays = _arrays(data)
    count = len(arrays['ids'])
    columns = {}
    for name, (kind, shape) in Places.NUMBERS.items():
        if arrays[name].dtype != kind or arrays[name].shape != (count, *shape):
            raise ValueError(f'{name} is not {np.dtype(kind).name} of {count} places')
        columns[name] = arrays[name]
    for name in Places.TEXTS:
        columns[name] = _texts(name, arrays, count)
    places = Places(**columns)
    places.check()
    return places


def _arrays(data: bytes) -> Mapping[str, np.ndarray]:
    wanted = {*Places.NUMBERS, *Places.TEXTS, *(name + _ENDS for name in Places.TEXTS)}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            # What is stored as it is cannot be larger than the file.
            plain = all(e.compress_type == zipfile.ZIP_STORED for e in entries)
            if not plain or sum(e.file_size for e in entries) > len(data):
                raise ValueError('its columns are compressed')
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if set(file.files) != wanted:
                raise ValueError(f'it does not hold exactly {", ".join(sorted(wanted))}')
            arrays = {name: file[name] for name in wanted}
    except ValueError:
        raise
    except Exception as error:  # zipfile and numpy raise what they like at odd bytes
        raise ValueError('it is no archive of columns') from error
    if any(array.ndim == 0 for array in arrays.values()):
        raise ValueError('a column is a single number')
    return arrays


def _texts(name: str, arrays: Mapping[str, np.ndarray], count: int) -> Texts:
    blob, ends = arrays[name], arrays[name + _ENDS]
    if blob.dtype != np.uint8 or blob.ndim != 1 or ends.dtype != np.int64:
        raise ValueError(f'{name} is not text')
    rises = len(ends) == 0 or (ends[0] >= 0 and bool((np.diff(ends) >= 0).all()))
    if ends.shape != (count,) or not rises or (count and ends[-1] != len(blob)):
        raise ValueError(f'{name} does not have {count} texts')
    return Texts(blob, ends)
