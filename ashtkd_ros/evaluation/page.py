# SPDX-License-Identifier: Apache-2.0
"""A page of HTML: rendered from a template of the package, and known again."""

from __future__ import annotations

import math
import re

import jinja2
from markupsafe import Markup

from ashtkd_ros.text import one_line

# By these in its head an earlier page is known; older versions wrote only the last one.
_MARKS = (
    b'<meta name="generator" content="ashtkd_ros">',
    b'<meta name="generator" content="ashtkd_ros comparison">',
    b':root { --ink: #20262b; --soft: #5b666f',
)
# Older versions marked a comparison as they did a report; its heading tells which it is.
_COMPARISON = re.compile(rb'<h1>\d+ evaluations side by side</h1>')


def render(template: str, **values: object) -> str:
    """HTML of a template of this package; inserted values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('ashtkd_ros.evaluation'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
    )
    environment.filters |= {'percent': percent, 'decimal': decimal}
    return environment.get_template(template).render(**values)


def _harmless(value: object) -> object:
    """Text of any origin without control characters; HTML of our own stays as it is."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return one_line(value) if plain else value


def percent(share: float | None) -> str:
    """A share in [0, 1] as text for readers; None and NaN become a dash."""
    return '–' if share is None or math.isnan(share) else f'{100 * share:.1f} %'


def decimal(value: float | None, places: int = 3) -> str:
    """A number as text for readers; None and NaN become a dash."""
    return '–' if value is None or math.isnan(value) else f'{value:.{places}f}'


def is_comparison_page(data: bytes) -> bool:
    """Whether bytes are a page that compares reports."""
    return _is_page(data) and (_MARKS[1] in _head(data) or bool(_COMPARISON.search(data)))


def is_report_page(data: bytes) -> bool:
    """Whether bytes are the page of one report."""
    return _is_page(data) and not is_comparison_page(data)


def _is_page(data: bytes) -> bool:
    return any(mark in _head(data) for mark in _MARKS)


def _head(data: bytes) -> bytes:
    """The head of a page; empty for anything else."""
    head, found, _ = data.partition(b'</head>')
    return head if found and head.startswith(b'<!doctype html>') else b''
