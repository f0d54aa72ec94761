# SPDX-License-Identifier: Apache-2.0
"""Tests are collected, and those that can run do so, where optional packages are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

OPTIONAL = (
    'launch',
    'launch_ros',
    'mkdocs',
    'onnx',
    'panda3d',
    'pydantic',
    'pytorch_metric_learning',
    'rclpy',
    'selenium',
    'torch',
)
# Runs pytest as if the packages of the first argument were not installed.
RUN = """
import sys
import pytest

missing = sys.argv[1].split(',')


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in missing:
            raise ModuleNotFoundError(f'No module named {name}', name=name)


sys.meta_path.insert(0, Missing())
sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[2:]]))
"""


def run(root: Path, missing: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, '-c', RUN, missing, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.mark.parametrize(
    ('missing', 'folder'),
    [
        (','.join(OPTIONAL), 'test'),
        *((package, 'test/tools/training') for package in ('onnx', 'pydantic', 'torch')),
    ],
)
def test_every_file_is_collected_without(root: Path, missing: str, folder: str):
    done = run(root, missing, '--collect-only', folder)
    errors = [line for line in done.stdout.splitlines() if line.startswith(('ERROR', 'E  '))]
    assert errors == [] and done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '::test_' in done.stdout and 'is not installed' in done.stdout


def test_a_file_that_cannot_be_imported_keeps_no_other_from_running(root: Path, tmp_path: Path):
    (tmp_path / 'test_broken.py').write_text('import no_such_package')
    (tmp_path / 'test_whole.py').write_text('def test_nothing():\n    pass')
    settings = root / 'pyproject.toml'
    done = run(root, 'none', '-c', settings, '--rootdir', tmp_path, tmp_path)
    assert done.returncode == 1, done.stdout
    assert '1 passed, 1 error' in done.stdout
