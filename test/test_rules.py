# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that no linter knows: training stays out of robots, licence lines."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ROOT
from test_layout import ROS, imports

RUNTIME = sorted((ROOT / 'ashtkd_ros').rglob('*.py'))
TOOLS = sorted((ROOT / 'tools').rglob('*.py'))
LEARNING = {'torch', 'torchvision', 'onnx', 'timm'}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def packages(path: Path) -> set[str]:
    """The first word of every module that a file imports."""
    return {m.partition('.')[0] for m in imports(path)}


def test_there_are_files_to_look_at():
    assert {'bag.py', 'embedder.py', 'build_map.py', 'vpr_node.py'} <= {p.name for p in RUNTIME}
    assert 'student.py' in {p.name for p in TOOLS}


@pytest.mark.parametrize('path', RUNTIME, ids=name)
def test_runtime_imports_no_training(path: Path):
    assert not packages(path) & (LEARNING | {'tools'})


def test_one_file_imports_ray_and_only_when_it_is_asked_for():
    importers = [path for path in (*RUNTIME, *TOOLS) if 'ray' in packages(path)]
    assert [name(path) for path in importers] == ['ashtkd_ros/mapping/fleet.py']
    loaded = 'import sys; import ashtkd_ros.commands.build_map, ashtkd_ros.mapping.fleet; '
    loaded += 'sys.exit("ray" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', loaded], cwd=ROOT).returncode == 0


def test_demo_imports_no_torch():
    assert not packages(ROOT / 'tools' / 'demo.py') & LEARNING


@pytest.mark.parametrize(
    'path',
    [
        *RUNTIME,
        *TOOLS,
        *(ROOT / 'test').rglob('*.py'),
        *(ROOT / 'launch').rglob('*.py'),
        ROOT / 'setup.py',
    ],
    ids=name,
)
def test_licence_comes_first(path: Path):
    lines = path.read_text(encoding='utf-8').splitlines()
    first = lines[1] if lines[0].startswith('#!') else lines[0]
    assert first == '# SPDX-License-Identifier: Apache-2.0'


@pytest.mark.parametrize('path', [*RUNTIME, *TOOLS], ids=name)
def test_a_progress_bar_says_when_it_is_not_shown(path: Path):
    """As tqdm has it, a bar goes into log files, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == 'tqdm':
            assert 'disable' in {k.arg for k in node.keywords}, f'line {node.lineno}'


@pytest.mark.parametrize('path', [*RUNTIME, *TOOLS], ids=name)
def test_nothing_is_unpickled_and_no_yaml_runs_code(path: Path):
    assert 'pickle' not in packages(path)
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            assert called not in ('yaml.load', 'yaml.unsafe_load', 'yaml.full_load')
            if called in ('torch.load', 'np.load'):
                given = {k.arg: getattr(k.value, 'value', None) for k in node.keywords}
                assert not given.get('allow_pickle')
                assert called == 'np.load' or given.get('weights_only') is True


def test_configuration_names_only_parameters_the_node_knows():
    text = (ROOT / 'config' / 'vpr.yaml').read_text(encoding='utf-8')
    values = yaml.safe_load(text)['/**']['ros__parameters']
    assert values
    pytest.importorskip('rclpy', reason='rclpy is not installed: the parameters are not known')
    from ashtkd_ros.ros.node.parameters import Parameters

    known = {f.name for f in fields(Parameters)} | {'use_sim_time'}
    shown = {line.strip('# ').partition(':')[0] for line in text.splitlines() if '    # ' in line}
    assert set(values) | shown <= known


def test_the_manifest_names_every_ros_package_that_is_imported():
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    named = {element.text for element in manifest.iter('exec_depend')}
    launch = (ROOT / 'launch').glob('*.py')
    used = set().union(*map(packages, (*RUNTIME, *launch)))
    assert used & ROS <= named


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (ROOT / 'test').rglob('*.py')]
    assert sorted(names) == sorted(set(names))
