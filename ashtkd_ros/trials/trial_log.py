# SPDX-License-Identifier: Apache-2.0
"""Marks and events of a trial: one JSON entry a line, to which several processes append."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.reading import is_file, read_regular
from ashtkd_ros.files.writing import cannot_write
from ashtkd_ros.text import one_line, reason_of

_LIMIT = 2**26  # bytes
_LONGEST = 2000  # characters of a text
_KEYS = {'stamp_ns', 'monotonic_ns', 'kind', 'text', 'values'}


@dataclass(frozen=True)
class LogEntry:
    """One line.

    `kind`: a word; `text`: a sentence for people; `stamp_ns`: of the system's clock since 1970;
    `monotonic_ns`: of the machine's clock that never jumps, the same in all processes; `values`:
    plain values.
    """

    kind: str
    text: str = ''
    stamp_ns: int = field(default_factory=time.time_ns)
    monotonic_ns: int = field(default_factory=time.monotonic_ns)
    values: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line, without its end."""
        return json.dumps(
            {
                'stamp_ns': self.stamp_ns,
                'monotonic_ns': self.monotonic_ns,
                'kind': self.kind,
                'text': one_line(self.text)[:_LONGEST],
                'values': dict(self.values),
            },
            ensure_ascii=False,
        )


@dataclass(frozen=True)
class TrialLog:
    """The file; it need not exist yet."""

    path: Path

    def append(self, entry: LogEntry) -> None:
        """Write one line and bring it to the disk; VprError where that fails.

        One write in append mode: lines of several processes do not mix. A half line, which a full
        disk or a power cut left, is ended first.
        """
        try:
            data = f'{entry.to_json()}\n'.encode()
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b'\n':
                    data = b'\n' + data
                if os.write(handle, data) != len(data):
                    raise OSError(28, os.strerror(28))
                os.fsync(handle)
            finally:
                os.close(handle)
        except (OSError, ValueError) as error:
            raise cannot_write(self.path, error, 'a line of the log') from error

    def read(self) -> tuple[list[LogEntry], int]:
        """Entries in the order of writing, and how many lines are damaged; none without a file.

        VprError where the file cannot be read.
        """
        if not is_file(self.path):
            return [], 0
        try:
            lines = read_regular(self.path, _LIMIT).split(b'\n')
        except (OSError, ValueError) as error:
            raise VprError(
                f'{self.path}: cannot be read ({reason_of(error)}); replace or remove it'
            ) from error
        entries = [parsed_entry(line) for line in lines if line.strip()]
        good = [entry for entry in entries if entry is not None]
        return good, len(entries) - len(good)


def parsed_entry(line: bytes) -> LogEntry | None:
    """The entry of one line; None where it is damaged."""
    try:
        values = parse_json(line.decode())
    except ValueError:
        return None
    if not isinstance(values, dict) or set(values) != _KEYS:
        return None
    whole = all(type(values[key]) is int for key in ('stamp_ns', 'monotonic_ns'))
    texts = all(isinstance(values[key], str) for key in ('kind', 'text'))
    if not (whole and texts and isinstance(values['values'], dict)):
        return None
    return LogEntry(**values)
