# SPDX-License-Identifier: Apache-2.0
"""A page of HTML: rendered from a template of the package, and written."""

from __future__ import annotations

import math
from pathlib import Path

import jinja2
from markupsafe import Markup

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import write_text
from ashtkd_ros.text import one_line

# By these an earlier page is known; the second is one of older versions.
PAGE_MARKS = (b'name="generator" content="ashtkd_ros"', b'--ink: #20262b; --soft: #5b666f')


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


def save_text(path: Path, text: str) -> None:
    """Write a file of a report, and make its folder; VprError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise VprError(
            f'{path}: the report cannot be written ({error.strerror}); give another place'
        ) from error
