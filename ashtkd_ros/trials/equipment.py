# SPDX-License-Identifier: Apache-2.0
"""What a trial is driven with: program, machine, network and map, with checksums."""

from __future__ import annotations

import os
import platform
import re
import socket
from datetime import datetime, timezone
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of, sha256_of_file
from ashtkd_ros.files.reading import read_regular, read_text
from ashtkd_ros.files.shipped import shipped_file
from ashtkd_ros.maps.city import CITY_FILE, CITY_LIMIT, is_city
from ashtkd_ros.maps.folder import DESCRIPTION, DESCRIPTION_LIMIT
from ashtkd_ros.maps.history import HISTORY
from ashtkd_ros.maps.map_files import load_description, map_checksum, place_count
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.text import reason_of

_VERSION = re.compile(r'<version>([\w.]+)</version>')


def machine_facts() -> dict[str, str]:
    """Name, system and Python of this machine."""
    return {
        'hostname': socket.gethostname(),
        'platform': platform.platform(),
        'python': platform.python_version(),
    }


def program_version() -> str:
    """The version of this package; empty where its manifest is not there."""
    manifest = shipped_file(Path('package.xml'))
    found = None if manifest is None else _VERSION.search(read_text(manifest))
    return found[1] if found else ''


def model_facts(path: str) -> dict[str, str]:
    """`path` and `sha256` of a network; empty path: of the shipped one. VprError."""
    file = Path(path) if path else shipped_model()
    try:
        return {'path': str(file), 'sha256': sha256_of_file(file)}
    except (OSError, ValueError) as error:
        raise VprError(
            f'{file}: the model cannot be read ({reason_of(error)}); name an .onnx file'
        ) from error


def map_facts(path: str) -> dict[str, object]:
    """`path`, `sha256` (see `map_checksum`), `places` and time `built` (ISO) of a map.

    `built`: when it was last changed by a command. VprError where it is not a sound map.
    """
    folder = Path(path)
    facts = {'path': path, 'sha256': map_checksum(folder), 'places': place_count(folder)}
    if is_city(folder):
        return {**facts, 'built': _changed(folder / CITY_FILE)}
    history = load_description(folder).info.built.get(HISTORY, [])
    when = history[-1]['when'] if history else _changed(folder / DESCRIPTION)
    return {**facts, 'built': when}


def map_state(folder: Path) -> str:
    """Checksum of the description of the map or city in a folder, which has those of its files;
    empty where there is none that can be read."""
    for name, limit in ((DESCRIPTION, DESCRIPTION_LIMIT), (CITY_FILE, CITY_LIMIT)):
        try:
            return sha256_of(read_regular(Path(folder) / name, limit))
        except (OSError, ValueError):
            continue
    return ''


def _changed(file: Path) -> str:
    try:
        time = datetime.fromtimestamp(os.stat(file).st_mtime, timezone.utc)
    except OSError as error:
        raise VprError(f'{file}: cannot be read ({reason_of(error)}); put it back') from error
    return time.strftime('%Y-%m-%dT%H:%M:%SZ')
