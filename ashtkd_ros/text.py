# SPDX-License-Identifier: Apache-2.0
"""Text of any origin as one line that no terminal obeys."""

from __future__ import annotations

import unicodedata


def reason_of(error: BaseException) -> str:
    """What an exception says, without its number and path, on one line."""
    return one_line(getattr(error, 'strerror', None) or str(error) or type(error).__name__)


def one_line(text: str) -> str:
    """Text of any origin as one line that no terminal obeys: control characters are escaped."""
    if text.isascii() and text.isprintable():
        return text
    words = ' '.join(text.split('\n')).strip() if '\n' in text else text
    return ''.join(c if _harmless(c) else c.encode('unicode_escape').decode() for c in words)


def _harmless(character: str) -> bool:
    """Neither a control character nor one that reorders or hides text, nor half of a pair."""
    return unicodedata.category(character) not in ('Cc', 'Cf', 'Cs', 'Co', 'Zl', 'Zp')
