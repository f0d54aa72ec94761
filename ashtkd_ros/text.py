# SPDX-License-Identifier: Apache-2.0
"""Text of any origin as one line without control characters."""

from __future__ import annotations

import unicodedata

_LONGEST_NAME = 80


def reason_of(error: BaseException) -> str:
    """The text of an exception in one line, without its number and path."""
    return one_line(getattr(error, 'strerror', None) or str(error) or type(error).__name__)


def one_line(text: str) -> str:
    """The text as one line in which control characters are escaped, safe for a terminal."""
    if text.isascii() and text.isprintable():
        return text
    words = ' '.join(text.split('\n')).strip() if '\n' in text else text
    return ''.join(c if _harmless(c) else c.encode('unicode_escape').decode() for c in words)


def name_of(text: str) -> str:
    """A name that comes from outside, in one line of 80 letters at most."""
    return one_line(text[:_LONGEST_NAME])[:_LONGEST_NAME]


def counted(number: int, noun: str, plural: str = '') -> str:
    """A number and its noun, which is in the plural (by default with an s) unless that is 1."""
    return f'{number} {noun if number == 1 else plural or f"{noun}s"}'


def _harmless(character: str) -> bool:
    """Whether a character is whole, not a control character, and does not reorder or hide text."""
    return unicodedata.category(character) not in ('Cc', 'Cf', 'Cs', 'Co', 'Zl', 'Zp')
