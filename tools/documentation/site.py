# SPDX-License-Identifier: Apache-2.0
"""A hook of mkdocs: links out of doc/, to files that the site does not hold, become text."""

from __future__ import annotations

import re

_OUTWARD = re.compile(r'\[([^\]]+)\]\(\.\./[^)]+\)')


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs with the text of each page."""
    return _OUTWARD.sub(r'`\1`', markdown)
