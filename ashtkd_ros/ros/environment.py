# SPDX-License-Identifier: Apache-2.0
"""What ROS needs from its environment, checked first: its own messages do not say what to do."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.text import one_line, reason_of

_MOST_DOMAIN = 232  # DDS has no network ports for a higher number
_NO_LOG_FILES = '--disable-external-lib-logs'
_FILE_OPTIONS = ('--params-file', '--log-config-file')


def check_environment(args: Sequence[str], environ: Mapping[str, str] = os.environ) -> None:
    """VprError if ROS_DOMAIN_ID is not valid, or if log files cannot be written."""
    _check_domain(environ.get('ROS_DOMAIN_ID', ''))
    if _NO_LOG_FILES not in args:
        _check_log_folder(environ)


def _check_domain(text: str) -> None:
    if not text:
        return
    whole = re.fullmatch(r'[0-9]{1,9}', text)
    if not (whole and int(text) <= _MOST_DOMAIN):
        raise VprError(
            f'ROS_DOMAIN_ID is "{one_line(text)}"; '
            f'it must be a whole number from 0 to {_MOST_DOMAIN}'
        )


def _check_log_folder(environ: Mapping[str, str]) -> None:
    """Look where rcl looks: ROS_LOG_DIR, otherwise `log` in ROS_HOME, otherwise ~/.ros/log."""
    given = environ.get('ROS_LOG_DIR') or environ.get('ROS_HOME') or '~/.ros'
    if given.startswith('~') and not environ.get('HOME'):
        raise VprError(
            'HOME is not set, so ROS has no folder for its logs; set HOME, ROS_HOME or ROS_LOG_DIR'
        )
    folder = Path(given.replace('~', environ.get('HOME', ''), 1) if given[0] == '~' else given)
    if not environ.get('ROS_LOG_DIR'):
        folder = folder / 'log'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        raise VprError(
            f'{one_line(str(folder))}: ROS cannot write its logs there ({reason_of(error)}); '
            'set ROS_LOG_DIR to a folder that you can write to'
        ) from error


def expand_files(args: Sequence[str]) -> list[str]:
    """The ROS arguments with `~` and variables expanded in the paths of their files.

    VprError if such a file does not exist.
    """
    expanded = list(args)
    for i, word in enumerate(expanded[:-1]):
        if word in _FILE_OPTIONS:
            expanded[i + 1] = expand_path(expanded[i + 1])
            if not Path(expanded[i + 1]).is_file():
                raise VprError(
                    f'{one_line(expanded[i + 1])}: {word} names a file that does not exist; '
                    'correct its path'
                )
    return expanded
