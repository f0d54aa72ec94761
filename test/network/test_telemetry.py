# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime reports to nobody: a fresh home stays empty, whatever of ours runs the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _import_runtime(file: Path) -> bool:
    return any(
        line.strip().startswith(('import onnxruntime', 'from onnxruntime'))
        for line in file.read_text().splitlines()
    )


FILES = [f for part in ('ashtkd_ros', 'tools') for f in sorted((ROOT / part).rglob('*.py'))]
MODULES = [
    '.'.join(f.relative_to(ROOT).with_suffix('').parts) for f in FILES if _import_runtime(f)
]
RUN = """
import onnxruntime
session = onnxruntime.InferenceSession('models/ashtkd_student.onnx')
del session
"""


def _home_after(home: Path, command: list, **env: str) -> list[str]:
    """What a process leaves in a fresh home, matplotlib's list of fonts apart."""
    home.mkdir()
    left_out = ('ORT_DISABLE_TELEMETRY', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME')
    given = {k: v for k, v in os.environ.items() if k not in left_out}
    given |= {'HOME': str(home), 'PYTHONDONTWRITEBYTECODE': '1'}
    given |= {'MPLCONFIGDIR': str(home.with_name('matplotlib')), **env}
    subprocess.run([sys.executable, *command], cwd=ROOT, env=given, check=True, timeout=120)
    return sorted(str(f.relative_to(home)) for f in home.rglob('*'))


def test_modules_that_run_networks_are_known():
    assert 'ashtkd_ros.network.providers' in MODULES and 'tools.training.networks.trunk' in MODULES


@pytest.mark.parametrize('module', [*MODULES, 'ashtkd_ros.ros.node.parameters'])
def test_a_fresh_home_stays_empty(module: str, tmp_path: Path):
    if module.startswith('tools.'):
        pytest.importorskip('torch')
    code = f'import {module}{RUN}'
    assert _home_after(tmp_path / 'home', ['-c', code]) == []


def test_the_users_own_setting_does_not_turn_it_on(tmp_path: Path):
    code = f'import ashtkd_ros.network.providers{RUN}'
    left = _home_after(tmp_path / 'home', ['-c', code], ORT_DISABLE_TELEMETRY='0')
    assert left == []


def test_scripts_run_by_their_path_leave_none_either(tmp_path: Path):
    pytest.importorskip('rclpy')  # some of them import it
    for script in sorted(ROOT.glob('tools/bench/*.py')):
        left = _home_after(tmp_path / script.stem, [str(script), '--help'], PYTHONPATH=str(ROOT))
        assert left == [], script


def test_commands_leave_no_identity(town: Path, tmp_path: Path):
    code = (
        'from ashtkd_ros.commands.build_map import main\n'
        f'main([{str(town / "day")!r}, "-o", {str(tmp_path / "map")!r}])'
    )
    assert _home_after(tmp_path / 'home', ['-c', code]) == []


def test_a_process_that_is_started_inherits_it(tmp_path: Path):
    code = (
        'import ashtkd_ros, subprocess, sys\n'
        f'subprocess.run([sys.executable, "-c", {RUN!r}], check=True)'
    )
    assert _home_after(tmp_path / 'home', ['-c', code]) == []
