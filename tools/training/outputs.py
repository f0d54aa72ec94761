# SPDX-License-Identifier: Apache-2.0
"""Places of results, asked about before the work: what is replaced there is of this program."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ashtkd_ros.files.marks import is_own_png
from ashtkd_ros.files.writing import check_output

# Every model that this program writes has these metadata: a student the first, a ranker the
# second.
_METADATA = ({'licence', 'preprocessing'}, {'licence', 'student'})

_TABLE = re.compile(rb'\| \| .*\| mean \|\n\|---\|')


def check_model_output(path: Path) -> None:
    """Make the folder of a model file; VprError where it cannot be written.

    A model of another origin is not replaced.
    """
    check_output(path, is_own_model, 'the model')


def check_picture_output(path: Path) -> None:
    """Make the folder of a picture; VprError where it cannot be written.

    A picture of another origin is not replaced.
    """
    check_output(path, is_own_png, 'the picture')


def check_table_output(path: Path) -> None:
    """Make the folder of a table in Markdown; VprError where it cannot be written.

    Only a table of figures for each validation set and their mean is replaced.
    """
    check_output(path, is_own_table, 'the table')


def is_own_table(data: bytes) -> bool:
    """Whether bytes begin with a table that a study wrote: rows of names, columns up to a mean."""
    first, second, *_ = [*data.split(b'\n', 2), b'']
    return (
        first.startswith(b'| | ') and first.endswith(b' | mean |') and second.startswith(b'|---|')
    )


def is_own_model(data: bytes) -> bool:
    """Whether bytes are a model that this program exported."""
    try:
        names = {entry.key for entry in onnx.load_from_string(data).metadata_props}
    except DecodeError:
        return False
    return any(names >= needed for needed in _METADATA)
