# SPDX-License-Identifier: Apache-2.0
"""A page of HTML: rendered from a template of the package, and known again."""

from __future__ import annotations

import math
import re

import jinja2
from markupsafe import Markup

from ashtkd_ros.text import one_line

REPORT, COMPARISON = 'ashtkd_ros', 'ashtkd_ros comparison'
# By this in its head an earlier page is known; older versions wrote only their style.
_GENERATOR = re.compile(rb'<meta name="generator" content="([^"]*)">')
_STYLE = b':root { --ink: #20262b; --soft: #5b666f'
# Older versions marked a comparison as they did a report; its heading tells which it is.
_COMPARISON = re.compile(rb'<h1>\d+ evaluations side by side</h1>')


def render(template: str, package: str = '', **values: object) -> str:
    """HTML of a template; inserted values are escaped.

    `package`: the one that has the template, empty: this one. It may extend those of this one.
    """
    packages = filter(None, [package, 'ashtkd_ros.evaluation'])
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(p) for p in packages]),
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


def generator_of(data: bytes) -> str:
    """Which part of this program wrote a page; empty where none did."""
    head = _head(data)
    told = _GENERATOR.search(head)
    if told:
        return told[1].decode('utf-8', 'replace')
    return REPORT if _STYLE in head else ''


def is_comparison_page(data: bytes) -> bool:
    """Whether bytes are a page that compares reports."""
    wrote = generator_of(data)
    return wrote == COMPARISON or wrote == REPORT and bool(_COMPARISON.search(data))


def is_report_page(data: bytes) -> bool:
    """Whether bytes are the page of one report."""
    return generator_of(data) == REPORT and not is_comparison_page(data)


def _head(data: bytes) -> bytes:
    """The head of a page; empty for anything else."""
    head, found, _ = data.partition(b'</head>')
    return head if found and head.startswith(b'<!doctype html>') else b''
