# SPDX-License-Identifier: Apache-2.0
"""The one reader of tables that people and other programs wrote: CSV and similar formats.

The header tells what separates the columns: a comma, semicolon, tab, vertical bar, or white space.
Names and values may be quoted and have spaces around them; the case of names does not matter. A
value that is missing or not a number is an error that names line and column; it never becomes 0.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.files.stamp_units import EARLIEST_S, middle_step, to_seconds
from ashtkd_ros.text import reason_of

_LIMIT = 2**28  # bytes
_LONG_STEP_S, _SHORT_STEP_S = 20.0, 1e-4  # median steps beyond these are questioned
_ANEW = 'save it as CSV in UTF-8'
_SEPARATORS = (',', ';', '\t', '|')
_NUMBER = re.compile(r'[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?')
_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\s|$)|(\S+)')  # else a word between white space
_END_OF_FILE = re.compile(r'\x1a\s*\Z')  # a mark of CP/M and DOS
_FINELY = re.compile(r'\.[0-9]{3,}\Z')
_DECIMAL_COMMA = re.compile(r'[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?')

Row = dict[str, str]
Rows = list[tuple[int, Row]]


def read_text(table: Path) -> str:
    """Text of a table: UTF-8, or UTF-16 with a byte order mark; VprError for anything else."""
    try:
        data = read_regular(table, _LIMIT)
        wide = data[:2] in (b'\xff\xfe', b'\xfe\xff')
        text = data.decode('utf-16' if wide else 'utf-8-sig')
    except UnicodeError as error:
        raise VprError(
            f'{table}: cannot be read as CSV text (it is not UTF-8 text); {_ANEW}'
        ) from error
    except FileNotFoundError as error:
        raise VprError(f'{table}: no such file; check its name') from error
    except (OSError, ValueError) as error:
        raise VprError(
            f'{table}: cannot be read as CSV text ({reason_of(error)}); {_ANEW}'
        ) from error
    text = _END_OF_FILE.sub('', text)
    if '\0' in text:
        raise VprError(f'{table}: cannot be read as CSV text (it holds zero bytes); {_ANEW}')
    return text


def read_rows(table: Path, needed: Sequence[str]) -> Rows:
    """Line number and columns of every row of a table with a header; empty rows are left out.

    VprError where a `needed` column is missing, or a row has fewer or more values than the header.
    """
    return parse_rows(read_text(table), table, needed)


def parse_rows(text: str, table: Path, needed: Sequence[str]) -> Rows:
    """As `read_rows`, from the text of a table."""
    lines = text.replace('\r\n', '\n').replace('\r', '\n').split('\n')
    start = _header_at(lines, needed)
    separator = _separator(lines[start], needed)
    names = _names(lines[start], separator)
    lacking = [c for c in needed if c not in names]
    if lacking:
        columns = 'the column {} is' if len(lacking) == 1 else 'the columns {} are'
        missing = columns.format(' and '.join(lacking))
        raise VprError(f'{table}: {missing} missing; the header must name {", ".join(needed)}')
    twice = next((n for n, times in Counter(names).items() if n and times > 1), None)
    if twice is not None:
        raise VprError(f'{table}: two columns are called {twice}; rename one')
    rows = []
    try:
        for number, cells in split_rows('\n'.join(lines[start + 1 :]), separator, start + 2):
            if any(cells) and not _is_comment(lines[number - 1], cells, names):
                _check_width(cells, names, f'{table}:{number}', separator)
                rows.append((number, dict(zip(names, cells, strict=False))))
    except csv.Error as error:
        raise VprError(
            f'{table}: cannot be read as CSV text ({reason_of(error)}); {_ANEW}'
        ) from error
    return rows


def _header_at(lines: Sequence[str], needed: Sequence[str]) -> int:
    """Number of the header's line: the first line with text.

    A line after a # counts only if it has all needed names.
    """
    for at, line in enumerate(lines):
        comment = line.lower().lstrip(' \t"').startswith(('#', 'sep='))
        if comment and not set(needed) <= set(_names(line, _separator(line, needed))):
            continue
        if line.strip():
            return at
    return 0


def _is_comment(line: str, cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is a comment, and not about a file whose name begins with #."""
    if not (line.lstrip().startswith('#') and cells[0].startswith('#')):
        return False
    return len(cells) != len(names) or cells[0][1:2] in ('', '#', ' ', '\t')


def _separator(header: str, needed: Sequence[str]) -> str:
    """The separator that finds most of the needed names, and among equals most names at all."""

    def found(separator: str) -> tuple[int, int]:
        names = _names(header, separator)
        return len(set(names) & set(needed)), len(names)

    best = max(_SEPARATORS, key=found)
    return best if found(best)[0] >= found(' ')[0] else ' '


def _names(header: str, separator: str) -> list[str]:
    """Names of the columns, in lower case."""
    try:
        _, cells = next(split_rows(header.lstrip('# '), separator, 1), (1, []))
    except csv.Error:
        return []
    while cells and not cells[-1]:  # a separator at the end of the line
        cells.pop()
    return [cell.lower() for cell in cells]


def split_rows(text: str, separator: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row of text that begins in line `first`.

    Raises csv.Error.
    """
    if separator == ' ':
        yield from ((n, _words(line)) for n, line in enumerate(text.split('\n'), first))
        return
    lines = io.StringIO(text, newline='')
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for row in reader:
        yield first + reader.line_num - 1, [cell.strip() for cell in row]


def _words(line: str) -> list[str]:
    """The words of a line; white space within quotes does not separate them."""
    if '"' not in line:
        return line.split()
    return [m[2] or (m[1] or '').replace('""', '"').strip() for m in _QUOTED.finditer(line)]


def _check_width(cells: list[str], names: list[str], where: str, separator: str) -> None:
    if len(cells) < len(names):
        raise VprError(
            f'{where}: the row has too few columns, {len(cells)} of the {len(names)} in the '
            'header; fill it in, or remove it'
        )
    if any(cells[len(names) :]):
        remedy = 'are there commas in numbers? write points'
        remedy = remedy if separator == ',' else 'remove what is too much'
        raise VprError(
            f'{where}: the row has {len(cells)} columns, the header {len(names)}; {remedy}'
        )


def number(text: str, column: str, table: Path, line: int) -> float:
    """A finite number; VprError that names table, line and column for anything else."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        what = 'it must be a finite number; correct it, or remove the row'
        if _DECIMAL_COMMA.fullmatch(text):
            what = 'write it with a decimal point'
        elif not text:
            what = 'it must be a finite number; fill it in, or remove the row'
        raise VprError(f'{table}:{line}: {column} is "{text[:80]}", {what}')
    return value


def is_whole(text: str) -> bool:
    """Whether text is a whole number, 0 or more, as frames have, of at most 15 digits."""
    return len(text) < 16 and text.isascii() and text.isdecimal()


def seconds(rows: Rows, table: Path, column: str = 'stamp') -> tuple[np.ndarray, list[str]]:
    """The stamps of all rows, float64 (N,) in seconds, and notes about them for the user."""
    stamps = np.array([number(row[column], column, table, line) for line, row in rows], float)
    try:
        stamps, unit = to_seconds(stamps, any(_FINELY.search(row[column]) for _, row in rows))
    except ValueError as error:
        raise VprError(f'{table}: {error}') from error
    notes, apart, odd = [], middle_step(stamps), ''
    if apart >= _LONG_STEP_S or 0 < apart < _SHORT_STEP_S:
        odd = f'{apart:.6g} s apart: are they of another unit? Give seconds'
    if unit != 's':
        is_date = np.abs(stamps).max() >= EARLIEST_S
        by = 'size' if is_date else 'steps'
        notes.append(f'the stamps of {table.name} are taken as {unit}, by their {by}')
        if odd or not is_date:
            notes[0] += f', {odd or f"{apart:.6g} s apart"}'
    elif odd:
        odd = odd.replace('of another unit', 'milliseconds') if apart >= _LONG_STEP_S else odd
        notes.append(f'the stamps of {table.name} are taken as seconds, {odd}')
    return stamps, notes
