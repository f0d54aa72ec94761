# SPDX-License-Identifier: Apache-2.0
"""Place names of the images of a recording, from a CSV table."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import is_whole, read_rows

LABELS = 'labels.csv'


def read_labels(recording: Path, table: Path | None) -> dict[int, str]:
    """Number of the image → label, from a CSV with the columns frame,label.

    `table`: None: labels.csv in the recording's folder, if there is one. VprError where a row
    has no number, or a number has two labels.
    """
    if table is None:
        table = recording / LABELS
        if not table.is_file():
            return {}
    labels = {}
    for line, row in read_rows(table, ('frame', 'label')):
        if not is_whole(row['frame']):
            raise VprError(
                f'{table}:{line}: frame is "{row["frame"][:40]}", it must be a number; correct it'
            )
        if labels.setdefault(int(row['frame']), row['label']) != row['label']:
            raise VprError(
                f'{table}:{line}: frame {row["frame"]} has another label above; remove one'
            )
    return labels
