# SPDX-License-Identifier: Apache-2.0
"""Texts of any origin made fit for a screen of fixed columns, and figures as short texts."""

from __future__ import annotations

import math
import re
import unicodedata

from ashtkd_ros.text import one_line

_LONGEST = 300  # characters
_MOST_ACCENTS = 2  # on one character
_SELECTORS = re.compile('[\ufe00-\ufe0f\U000e0100-\U000e01ef]')  # terminals differ on their width
NONE = '-'


def tame(text: str, longest: int = _LONGEST) -> str:
    """One line of at most `longest` characters whose width every terminal agrees on."""
    text = text[: 4 * longest]
    if not text.isascii():
        text = _SELECTORS.sub('', unicodedata.normalize('NFC', text))
    text = one_line(text).strip()
    if not text.isascii():
        text = _without_towers(text)
    return text if len(text) <= longest else f'{text[: longest - 1]}…'


def _without_towers(text: str) -> str:
    """Without the accents that are piled upon each other, and those that stand on nothing."""
    kept, pile = [], _MOST_ACCENTS
    for character in text:
        pile = pile + 1 if unicodedata.category(character) in ('Mn', 'Me') else 0
        if pile <= _MOST_ACCENTS:
            kept.append(character)
    return ''.join(kept)


def number(value: float, digits: int = 0, unit: str = '') -> str:
    """A figure with its unit; "-" where it is unknown."""
    if not math.isfinite(value):
        return NONE
    text = f'{value:.{digits}f}' if abs(value) < 1e9 else f'{value:.1e}'
    return f'{text} {unit}' if unit else text


def age(seconds: float) -> str:
    """How long ago, in the unit that fits."""
    if not math.isfinite(seconds):
        return 'never'
    seconds = max(0.0, seconds)
    for limit, unit, size in ((10, 's', 1.0), (100, 's', 1), (6000, 'min', 60), (1e6, 'h', 3600)):
        if seconds < limit:
            return f'{seconds / size:.{1 if limit == 10 else 0}f} {unit}'
    return 'days'


def duration(seconds: float) -> str:
    """Hours, minutes, seconds."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{rest:02}'
