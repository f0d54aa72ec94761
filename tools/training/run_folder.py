# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: its settings, its checkpoint, and whether a run may go on in it."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import torch
import yaml

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import YAML_LIMIT, parse_yaml
from ashtkd_ros.files.reading import open_regular, read_regular
from ashtkd_ros.files.writing import whole_file, write_text
from tools.training.config import as_plain, read_sources
from tools.training.drafts import clear_drafts
from tools.training.processes import is_first

# Settings that do not change what is learned, and those that are paths.
_ASIDE = ('out', 'views_folder', 'revision', 'checkpoint_steps')
_SOURCES = ('sources', 'data')  # of a student's run, of a teacher's
_HELD_BACK = 'held_back'  # nothing, where settings do not name it
_PATHS = ('path', 'paths', 'images', 'trunk', 'start')


def read_config(folder: Path) -> object:
    """What config.yaml of a run's folder holds; OSError or ValueError where it is damaged."""
    return parse_yaml(read_regular(folder / 'config.yaml', YAML_LIMIT))


def load_checkpoint(path: Path) -> dict:
    """What `Run.save` wrote, in the processor's memory; VprError for a damaged file."""
    try:
        with open(open_regular(path), 'rb') as file:
            state = torch.load(file, weights_only=True, map_location='cpu')
        _ = state['network'], state['optimiser'], state['average'], state['step']
    except Exception as error:  # torch's loader raises many kinds
        raise VprError(
            f'{path}: not a checkpoint of tools.training.train that can be read '
            f'({first_line(error)}); give another `out` folder'
        ) from error
    return state


def write_torch(path: Path, state: dict) -> None:
    """Write what `torch.load` reads, whole or not at all; equal states give equal bytes."""
    # By its name torch would name the entries within the file, and a draft's name is random.
    with whole_file(path, follow_links=False) as draft, draft.open('wb') as file:
        torch.save(state, file)


def first_line(error: Exception) -> str:
    """An error in short: its kind and the first line of its message, whole words of it."""
    line = f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0]
    return textwrap.shorten(line, 120, placeholder=' ...')


def make_folder(folder: Path) -> None:
    """Make a folder to write to; VprError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VprError(
            f'{folder}: cannot be made ({error.strerror}); give another `out` folder'
        ) from error


def start_folder(folder: Path, settings: dict) -> None:
    """Make the folder of a run and write its settings with the git revision to config.yaml.

    Drafts that a killed run left are removed. VprError where it holds a checkpoint of other
    settings, or another process trains in it.
    """
    make_folder(folder)
    if not is_first():
        return
    if not clear_drafts(folder):
        raise VprError(
            f'{folder}: another process trains here; wait for it, or give another `out` folder'
        )
    if (folder / 'checkpoint.pt').exists():
        kept = load_checkpoint(folder / 'checkpoint.pt').get('settings')
        check_settings(folder, settings, kept)
    settings = {**settings, 'revision': revision()}
    write_text(folder / 'config.yaml', yaml.safe_dump(settings, sort_keys=False))


def check_settings(folder: Path, settings: dict, kept: dict | None = None) -> None:
    """VprError where a folder's run was of other settings than these.

    `kept`: those of its checkpoint; by default its config.yaml, where there is one.
    """
    if kept is None:
        try:
            kept = read_config(folder)
        except (OSError, ValueError):
            return
    if not isinstance(kept, dict):
        return
    other = _first_difference(_comparable(kept), _comparable(settings))
    if other is not None:
        key, before, now = other
        several = isinstance(before, list | dict) or isinstance(now, list | dict)
        values = '' if several else f' ({before!r:.40}, now {now!r:.40})'
        raise VprError(
            f'{folder}: its run has another {key}{values}; give another `out` folder or remove '
            f'{folder}'
        )


def _comparable(value: Any, key: str = '') -> Any:
    """Settings in a form to compare: relative paths, teachers by name, sources with defaults.

    What changes no result is left out.
    """
    if isinstance(value, dict):
        return {k: _comparable(v, k) for k, v in value.items() if k not in _ASIDE}
    if isinstance(value, (list, tuple)):
        if key in _SOURCES:
            value = _with_defaults(value)
        if key == 'teachers' and value and isinstance(value[0], dict):
            return {t['name']: _comparable(t) for t in value}
        return [_comparable(v, key) for v in value]
    return os.path.relpath(value) if key in _PATHS and isinstance(value, str) else value


def _with_defaults(sources: list) -> list:
    """Sources with every setting that they leave out; those of another version as they are."""
    try:
        return [as_plain(source) for source in read_sources(list(sources), Path())]
    except VprError:
        return sources


def _first_difference(kept: Any, now: Any, key: str = '') -> tuple[str, Any, Any] | None:
    """The first key in which two settings differ, and both values.

    A key that only one has is of another version, or a teacher that the lesson does not name;
    the keys of a source are compared all.
    """
    if isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        kept, now = dict(enumerate(kept)), dict(enumerate(now))
    if not isinstance(kept, dict) or not isinstance(now, dict):
        return (key, kept, now) if kept != now else None
    strict = key.split('.')[0] in (*_SOURCES, _HELD_BACK)
    for name in {**now, **kept}:
        if strict or name == _HELD_BACK or (name in kept and name in now):
            inner = f'{key}.{name}'.strip('.')
            none = {} if name == _HELD_BACK else None
            other = _first_difference(kept.get(name, none), now.get(name, none), inner)
            if other is not None:
                return other
    return None


def revision() -> str:
    """Git's name for the state of this code, or `unknown`."""
    command = ['git', 'describe', '--always', '--dirty']
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return 'unknown'
    return done.stdout.strip() or 'unknown'
