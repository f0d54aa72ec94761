# SPDX-License-Identifier: Apache-2.0
"""Drafts that kill -9 leaves: the next run clears them, and nothing else; no other run does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import ROOT, line_of
from small_training import write_settings

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file
from tools.training import train
from tools.training.config import read_config
from tools.training.drafts import clear_drafts
from tools.training.run_folder import start_folder

# A run that is killed while it writes; argument: the file.
KILLED = """
import os, signal, sys
from pathlib import Path
from ashtkd_ros.files.writing import whole_file
with whole_file(Path(sys.argv[1])) as draft:
    draft.write_bytes(b'half')
    os.kill(os.getpid(), signal.SIGKILL)
"""
# A run that works in the folder of its argument until its input ends.
RUNNING = """
import sys
from pathlib import Path
from tools.training.drafts import clear_drafts
print(clear_drafts(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def killed_draft(file: Path) -> Path:
    """The draft that a killed run left of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = set(file.parent.iterdir())
    subprocess.run([sys.executable, '-c', KILLED, str(file)], cwd=ROOT, check=False)
    (draft,) = set(file.parent.iterdir()) - before
    assert not file.exists() and draft.read_bytes() == b'half'
    return draft


def running(folder: Path) -> subprocess.Popen:
    """Another process that works in a folder."""
    command = [sys.executable, '-c', RUNNING, str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'True\n'
    return process


@pytest.mark.parametrize('name', ['checkpoint.pt', 'config', f'{"long" * 30}.npz', '.hidden.pt'])
def test_the_draft_of_a_killed_run_is_cleared(tmp_path: Path, name: str):
    draft = killed_draft(tmp_path / 'run' / name)
    start_folder(tmp_path / 'run', {'out': 'a'})
    start_folder(tmp_path / 'run', {'out': 'a'})
    assert not draft.exists() and (tmp_path / 'run' / 'config.yaml').exists()


def test_nothing_else_is_removed(tmp_path: Path):
    names = ['checkpoint.pt', '.checkpoint.new.pt', 'checkpoint.0123456789abcdef.new.pt']
    names += ['.checkpoint.0123456789abcdef.pt', '.a.0123456789abcdeg.new.pt', '.gitignore']
    for name in names:
        (tmp_path / name).write_text('mine')
    kept = [tmp_path / name for name in names]
    (tmp_path / '.folder.0123456789abcdef.new').mkdir()
    link = tmp_path / '.link.0123456789abcdef.new.pt'
    link.symlink_to(tmp_path / 'checkpoint.pt')
    below = killed_draft(tmp_path / 'below' / 'checkpoint.pt')
    assert clear_drafts(tmp_path)
    assert all(path.exists() for path in (*kept, tmp_path / '.folder.0123456789abcdef.new', below))
    assert link.is_symlink()


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path: Path):
    other = running(tmp_path)
    draft = killed_draft(tmp_path / 'checkpoint.pt')
    with pytest.raises(VprError) as error:
        start_folder(tmp_path, {'out': 'a'})
    assert f'{tmp_path}: another process trains here' in line_of(error) and draft.exists()
    other.communicate()
    start_folder(tmp_path, {'out': 'a'})
    assert not draft.exists()


def test_drafts_of_views_and_of_features_are_cleared(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = read_config(write_settings(pictures, tmp_path, monkeypatch))
    views = tmp_path / 'views'
    drafts = [killed_draft(views / '0000.npz'), killed_draft(views / 'trunk' / '0000.npz')]
    train.prepare(config)
    assert not any(draft.exists() for draft in drafts)


def test_views_that_another_process_uses_keep_their_drafts(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = read_config(write_settings(pictures, tmp_path, monkeypatch))
    (tmp_path / 'views').mkdir()
    other = running(tmp_path / 'views')
    with whole_file(tmp_path / 'views' / 'other.npz') as draft:
        draft.write_text('the other process writes this')
        train.prepare(config)
        assert draft.exists()
    other.communicate()
