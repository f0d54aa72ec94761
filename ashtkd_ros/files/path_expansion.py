# SPDX-License-Identifier: Apache-2.0
"""`~`, `$NAME` and `${NAME}` in paths that no shell has expanded: parameters, launch arguments."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping

from ashtkd_ros.errors import VprError
from ashtkd_ros.text import one_line

_VARIABLE = re.compile(r'\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})')


def expand_path(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The path with home folder and variables put in; VprError where one of them is not known.

    A path that exists exactly as it is written is left as it is.
    """
    text = text.strip()
    if not text or not ('$' in text or text.startswith('~')) or os.path.lexists(text):
        return text
    begin, slash, rest = text.partition('/')
    if begin.startswith('~'):
        begin = _home_of(begin[1:], text, environ)
        text, before = rest, begin.rstrip('/') + slash
    else:
        before = ''

    def value(match: re.Match) -> str:
        name = match[1] or match[2]
        setting = environ.get(name) or (_own_home(environ) if name == 'HOME' else '')
        if not setting:
            raise VprError(
                f'{one_line(before + text)}: ${name} is not set; set it, or write the whole path'
            )
        return setting

    return before + _VARIABLE.sub(value, text)


def _own_home(environ: Mapping[str, str]) -> str:
    """$HOME, else the home folder that the system has for the user; '' where it has none."""
    try:
        return environ.get('HOME') or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ''


def _home_of(user: str, text: str, environ: Mapping[str, str]) -> str:
    if not user:
        home = _own_home(environ)
        if not home:
            raise VprError(
                f'{one_line(text)}: HOME is not set, so ~ cannot be expanded; write the whole path'
            )
        return home
    try:
        return pwd.getpwnam(user).pw_dir
    except (KeyError, ValueError) as error:
        raise VprError(
            f'{one_line(text)}: there is no user {one_line(user)}; write the whole path'
        ) from error
