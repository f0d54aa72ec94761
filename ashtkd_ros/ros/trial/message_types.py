# SPDX-License-Identifier: Apache-2.0
"""Message types by their names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping

_TYPE = re.compile(r'([A-Za-z]\w*)/msg/([A-Za-z]\w*)')


def message_class(name: str) -> type | None:
    """The class of `pkg/msg/Name`; None where it is not installed."""
    parts = _TYPE.fullmatch(name)
    if parts is None:
        return None
    try:
        return getattr(importlib.import_module(f'{parts[1]}.msg'), parts[2], None)
    except ImportError:
        return None


def fields_of(name: str) -> Mapping[str, str] | None:
    """The fields of a type, with their types as Python's classes call them; None: not known."""
    found = message_class(name)
    return None if found is None else found.get_fields_and_field_types()
