# SPDX-License-Identifier: Apache-2.0
"""The trial sheet: what no sensor writes down. The operator fills it in, also afterwards."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from ashtkd_ros.errors import VprError

VERSION = 1
_HEAD = '# The sheet of an outdoor trial. Fill it in, also afterwards: the reports read it anew.\n'
_LONGEST = 2000  # characters


@dataclass(frozen=True)
class Sheet:
    """`name`: of the trial, in the name of its folder. The rest is free text, empty if unknown.

    `condition`: what reports compare by, such as day, dusk, night, rain.
    """

    name: str
    condition: str = ''
    weather: str = ''
    light: str = ''
    operator: str = ''
    robot: str = ''
    route: str = ''
    remarks: str = ''

    @classmethod
    def parsed(cls, values: object, path: Path) -> Sheet:
        """From plain values of YAML; VprError names `path` and what is wrong."""
        advice = f'{path}: is no sheet of a trial'
        if not isinstance(values, dict):
            raise VprError(f'{advice}; it must hold lines such as "weather: rain"')
        if values.get('version') != VERSION:
            raise VprError(f'{advice} in version {VERSION}; mend its line "version"')
        known = {f.name for f in fields(cls)}
        unknown = sorted(str(key)[:40] for key in set(values) - known - {'version'})
        if unknown:
            raise VprError(
                f'{advice}: "{unknown[0]}" is not one of {", ".join(sorted(known))}; rename it'
            )
        texts = {key: _text(values.get(key)) for key in known}
        for key, text in texts.items():
            if text is None or len(text) > _LONGEST:
                raise VprError(
                    f'{advice}: "{key}" is not a text of at most {_LONGEST} characters; mend it'
                )
        if not texts['name']:
            raise VprError(f'{advice}: "name" is missing; add it')
        return cls(**texts)

    def text(self) -> str:
        """As the file trial.yaml."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return _HEAD + yaml.safe_dump(
            {'version': VERSION, **values}, sort_keys=False, allow_unicode=True
        )


def _text(value: object) -> str | None:
    """What was written, as text: `12` and `2026-11-28` mean themselves; None: no text."""
    if value is None:
        return ''
    return str(value) if not isinstance(value, (dict, list, set, bytes)) else None
