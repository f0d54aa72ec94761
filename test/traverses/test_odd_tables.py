# SPDX-License-Identifier: Apache-2.0
"""A table of images that is there but is not a file is named, and never passed over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.image_folder import read_source

ODD = {
    'a pipe': os.mkfifo,
    'a folder': os.mkdir,
    'a link to nothing': lambda path: os.symlink('gone.csv', path),
    'a link to itself': lambda path: os.symlink(path.name, path),
}


@pytest.mark.parametrize('name', ['poses.csv', 'index.csv'])
@pytest.mark.parametrize('make', ODD.values(), ids=ODD)
def test_a_table_that_is_no_file_is_named(tmp_path: Path, name: str, make: Callable):
    for other in {'poses.csv', 'index.csv'} - {name}:
        (tmp_path / other).write_text('file,stamp,place,role,order\n')
    make(tmp_path / name)
    with pytest.raises(VprError, match=f'{name}: is not a file that can be read; replace or'):
        read_source(tmp_path)
