# SPDX-License-Identifier: Apache-2.0
"""Whether the code says what a page quotes: whole words, from the beginning of a sentence."""

from __future__ import annotations

import ast
import re
from functools import cache

from conftest import ROOT

_HOLE = '\0'  # what a text of the code is filled in with
_SHORTEST = 4  # letters of a piece that is looked for
# What stands before and behind a piece: at the ends of a quote, and beside "...".
_STARTS, _ENDS = r'(?:^|(?<=[;.] ))', r'(?=\0?$|[;,.:]| \()'
_NOT_WITHIN_A_WORD = r'(?<![\w-])', r'(?![\w-])'


@cache
def texts() -> tuple[str, ...]:
    """Every text in the code, what is filled in as a zero byte."""
    found = set()
    for folder in ('ashtkd_ros', 'tools/without_ros', 'launch'):
        for file in sorted((ROOT / folder).rglob('*.py')):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding='utf-8'))))
            joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
            parts = {id(part) for node in joined for part in node.values}
            for node in joined:
                values = [getattr(part, 'value', '') for part in node.values]
                found.add(''.join(v if isinstance(v, str) else _HOLE for v in values))
            for node in nodes:
                if isinstance(node, ast.Constant) and id(node) not in parts:
                    found.add(str(node.value))
    return tuple(sorted(found))


def fault_of(quote: str) -> str:
    """What is wrong with a quote, in words; empty: the code says it.

    "..." stands for what is filled in or left out. A piece beside it may be a text of the code
    with a number or another text of the code filled in.
    """
    if not re.match(r'\.\.\.|["\w]|--\w', quote):
        return 'begins neither at the beginning of a sentence nor with "..."'
    if re.search(r'\w\.\.\.|\.\.\.[.\w]', quote):
        return 'has "..." within a word'
    pieces = [piece.strip() for piece in quote.split('...')]
    for i, piece in enumerate(pieces):
        is_last = i == len(pieces) - 1
        if len(piece) >= _SHORTEST and not _is_said(piece, i == 0, is_last):
            return f'"{piece}" is not said by the code, or not from there to there'
    return ''


def _is_said(piece: str, is_first: bool, is_last: bool) -> bool:
    before, behind = _NOT_WITHIN_A_WORD
    before = _STARTS if is_first else before if re.match(r'\w', piece) else ''
    behind = _ENDS if is_last else behind if re.search(r'\w$', piece) else ''
    if any(_found(before, filled, behind) for filled in _with_holes(piece)):
        return True
    cuts = [piece[:cut] for cut in range(_SHORTEST - 1, len(piece) - _SHORTEST)]
    return any(
        _found('^', right, behind)
        for left in cuts
        if any(_found(before, filled + _HOLE, '') for filled in _with_holes(left))
        for right in _with_holes(piece[len(left) :])
    )


def _found(before: str, text: str, behind: str) -> bool:
    everything = _everything()
    if text not in everything:  # which is quickly known
        return False
    return bool(re.search(before + re.escape(text) + behind, everything, re.MULTILINE))


@cache
def _everything() -> str:
    return '\n'.join(texts())


@cache
def _with_holes(piece: str) -> tuple[str, ...]:
    """The piece, and the texts of the code that may have become it."""
    numbers = [re.sub(rf'(?<![\w.]){n}\b', _HOLE, piece) for n in re.findall(r'\d+', piece)]
    within = [t for t in texts() if len(t) >= _SHORTEST and t in piece and t != piece]
    return (piece, *numbers, *(piece.replace(text, _HOLE) for text in within))
