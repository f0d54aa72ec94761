# SPDX-License-Identifier: Apache-2.0
"""Arrays of any origin: what is no array of numbers is refused, and nothing in it is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ashtkd_ros.files.npy import npy_header
from tools.training.numpy_file import mapped_array, named_arrays


class Trap:
    """Unpickled, it makes the file `sprung`."""

    def __init__(self, sprung: Path):
        self.sprung = sprung

    def __reduce__(self):
        return os.mkdir, (str(self.sprung),)


def spoilt(case: str, tmp_path: Path) -> bytes:
    """The bytes of an .npy that are no array of numbers, or not all of one."""
    whole = io.BytesIO()
    if case == 'objects':
        np.save(whole, np.array([Trap(tmp_path / 'sprung')], object), allow_pickle=True)
    elif case == 'records':
        np.save(whole, np.zeros(2, [('a', 'f4')]))
    return {
        'pickle': pickle.dumps(Trap(tmp_path / 'sprung')),
        'cut': npy_header('<f4', (4, 4)) + bytes(20),
        'claims': npy_header('<f4', (2**40, 2**10)) + bytes(20),
        'beyond': npy_header('<f4', (2**62, 2**62)) + bytes(20),
        'empty': b'',
    }.get(case, whole.getvalue())


CASES = ['pickle', 'objects', 'records', 'cut', 'claims', 'beyond', 'empty']


@pytest.mark.parametrize('case', [*CASES, 'one number'])
def test_a_file_that_is_no_array_of_rows_is_refused(case: str, tmp_path: Path):
    file = tmp_path / 'rows.npy'
    file.write_bytes(spoilt(case, tmp_path))
    if case == 'one number':
        np.save(file, np.float32(1))
    with pytest.raises((OSError, ValueError)):
        mapped_array(file)
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize('case', [*CASES, 'not an archive', 'another file'])
def test_an_archive_that_is_not_all_arrays_is_refused(case: str, tmp_path: Path):
    file = tmp_path / 'arrays.npz'
    with zipfile.ZipFile(file, 'w') as archive:
        name = 'readme.txt' if case == 'another file' else 'a.npy'
        archive.writestr(name, spoilt(case, tmp_path))
    if case == 'not an archive':
        np.save(file.with_suffix('.npy'), np.zeros(3))
        file.with_suffix('.npy').rename(file)
    with pytest.raises((OSError, ValueError)):
        named_arrays(file)
    assert not (tmp_path / 'sprung').exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / 'pipe')
    for read in (mapped_array, named_arrays):
        with pytest.raises(OSError, match='not a regular file'):
            read(tmp_path / 'pipe')


def test_sound_arrays_are_read(tmp_path: Path):
    rows = np.arange(6, dtype=np.float16).reshape(3, 2)
    np.save(tmp_path / 'rows.npy', rows)
    np.testing.assert_array_equal(mapped_array(tmp_path / 'rows.npy'), rows)
    np.savez_compressed(tmp_path / 'a.npz', rows=rows, names=np.array(['é', 'b']))
    found = named_arrays(tmp_path / 'a.npz')
    np.testing.assert_array_equal(found['rows'], rows)
    assert found['names'].tolist() == ['é', 'b']
