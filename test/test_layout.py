# SPDX-License-Identifier: Apache-2.0
"""The house: which storey may import which, what from outside, no circles, nothing long."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

# From the ground up. A file may import from its own folder and from those further up this list.
STOREYS = (
    'text',
    'sampling',
    'stamps',
    'errors',
    'files',
    'cli',
    'geometry',
    'images',
    'bags',
    'traverses',
    'network',
    'maps',
    'recognition',
    'mapping',
    'evaluation',
    'trials',
    'trials.dashboard',
    'commands',
    'ros',
    'ros.node',
    'ros.play',
    'ros.trial',
    'entry',
)
# Who may not know whom, though it stands below. The node loads no recordings and builds nothing.
APART = {('ros.play', 'ros.node')}
APART |= {('ros.node', s) for s in ('bags', 'mapping', 'evaluation', 'trials', 'commands')}
# What a storey may use that is neither ours nor Python's. Only the skin, ros, knows ROS.
OUTSIDE = {
    'sampling': {'numpy'},
    'files': {'numpy', 'yaml'},
    'cli': {'cv2'},
    'geometry': {'numpy'},
    'images': {'cv2', 'numpy'},
    'bags': {'backports', 'compression', 'lz4', 'mcap', 'numpy', 'rosbags', 'yaml'},
    'traverses': {'cv2', 'numpy', 'rosbags', 'tqdm'},
    'network': {'cv2', 'numpy', 'onnxruntime', 'tqdm'},
    'maps': {'cv2', 'faiss', 'milvus_lite', 'numpy', 'pymilvus', 'yaml'},
    'recognition': {'numpy', 'tqdm'},
    'mapping': {'cv2', 'matplotlib', 'numpy', 'ray', 'sklearn', 'tqdm'},
    'evaluation': {'cv2', 'jinja2', 'markupsafe', 'matplotlib', 'numpy', 'tqdm'},
    'trials': {'cv2', 'matplotlib', 'numpy', 'tqdm', 'yaml'},
    'trials.dashboard': {'numpy', 'rich'},
    'commands': {'numpy'},
    'ros.node': {'cv2', 'numpy'},
    'ros.play': {'numpy'},
    'ros.trial': {'numpy', 'rich'},
}
ROS = {
    'builtin_interfaces',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'launch',
    'lifecycle_msgs',
    'nav_msgs',
    'rcl_interfaces',
    'rclpy',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'vision_msgs',
    'visualization_msgs',
}
# Which folders or files of the tools may use which others; all may use the package.
_SETTINGS = {'training.setting_types', 'training.processes', 'training.config'}
_FILES = {'training.numpy_file', 'training.onnx_file'}
TOOLS_MAY_USE = {
    'bench': {'town', 'process_usage', 'trial'},
    'demo': {'town'},
    'trial': {'town', 'render'},
    'training.networks': {'training.setting_types', *_FILES},
    'training.losses': {'training.networks'},
    'training.data': {'training.networks', *_SETTINGS, *_FILES},
    'training': {'training.networks', 'training.losses', 'training.data'},
    'training.studies': {'training', 'training.networks', 'training.losses', 'training.data'}
    | {'bench', 'render'},
}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 40
PACKAGE = sorted((ROOT / 'ashtkd_ros').rglob('*.py'))
TOOLS = sorted((ROOT / 'tools').rglob('*.py'))
TESTS = sorted((ROOT / 'test').rglob('*.py'))
LAUNCH = sorted((ROOT / 'launch').rglob('*.py'))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    """The name that a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module(path): path for path in (*PACKAGE, *TOOLS)}


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports anywhere, by its full name; its packages as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{name(path)}: a relative import'
            assert node.names[0].name != '*', f'{name(path)}: imports *'
            inner = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= {m if m in MODULES else node.module for m in inner}
    return frozenset(found)


def arrows(path: Path) -> set[str]:
    """Modules of ours that run when a file is imported: those it names, and their packages."""
    ours = {m for m in imports(path) if m in MODULES}
    parents = {m.rpartition('.')[0] for m in ours if m.count('.') > 1}
    own = module(path)
    return {m for m in ours | parents if m != own and not own.startswith(f'{m}.')}


def storey(of: str) -> str:
    """The storey of a module of the package."""
    parts = of.split('.')[1:]
    two = '.'.join(parts[:2])
    return two if two in STOREYS and len(parts) > 1 else parts[0]


def is_allowed(importer: str, imported: str) -> bool:
    """Whether one storey may import another."""
    down = STOREYS.index(imported) <= STOREYS.index(importer)
    return down and (importer, imported) not in APART


def upwards(path: Path) -> list[str]:
    """What a file of the package imports and may not."""
    ours = [m for m in imports(path) if m.startswith('ashtkd_ros.')]
    return [m for m in ours if not is_allowed(storey(module(path)), storey(m))]


FILES = [path for path in PACKAGE if path.parent != ROOT / 'ashtkd_ros' or path.stem in STOREYS]


def test_every_file_of_the_package_has_a_storey():
    assert len(FILES) > 80
    assert [name(p) for p in PACKAGE if p not in FILES] == ['ashtkd_ros/__init__.py']
    assert {storey(module(path)) for path in FILES} == set(STOREYS)


@pytest.mark.parametrize('path', [p for p in PACKAGE if p.stem == '__init__'], ids=name)
def test_packages_import_nothing_that_all_their_modules_would_load(path: Path):
    assert imports(path) <= {'os'}


# opening.py imports the kinds of sources by name, when the first of a kind is opened,
# message_types.py the types of the topics that are recorded, entry.py the command that is called.
IMPORTERS = ('opening.py', 'message_types.py', 'entry.py', 'help_texts.py')


@pytest.mark.parametrize('path', [*PACKAGE, *TOOLS], ids=name)
def test_nothing_is_imported_behind_the_back_of_these_tests(path: Path):
    text = path.read_text(encoding='utf-8')
    called = {ast.unparse(n.func) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)}
    hidden = {c.rpartition('.')[2] for c in called} & {'import_module', '__import__', 'run_module'}
    assert not hidden or path.name in IMPORTERS


def test_what_an_arrow_up_is():
    assert storey('ashtkd_ros.ros.session') == 'ros'
    assert storey('ashtkd_ros.ros.node.health') == 'ros.node'
    assert is_allowed('evaluation', 'maps') and is_allowed('maps', 'maps')
    assert is_allowed('ros.node', 'ros') and not is_allowed('ros', 'ros.node')
    assert not is_allowed('maps', 'mapping') and not is_allowed('ros.play', 'ros.node')
    assert not is_allowed('evaluation', 'ros.play')


@pytest.mark.parametrize('path', FILES, ids=name)
def test_arrows_point_down(path: Path):
    assert not upwards(path)


@pytest.mark.parametrize('path', FILES, ids=name)
def test_a_storey_uses_only_its_libraries(path: Path):
    used = {m.partition('.')[0] for m in imports(path)} - sys.stdlib_module_names - {'ashtkd_ros'}
    own = storey(module(path))
    assert used <= OUTSIDE.get(own, set()) | (ROS if own.startswith('ros') else set())


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules that reach each other."""
    reach = {m: set(to) for m, to in arrows.items()}
    for middle in reach:  # Warshall: after each turn paths may pass through one module more
        for start in reach:
            if middle in reach[start]:
                reach[start] |= reach[middle]
    return [{m} | {n for n in reach[m] if m in reach.get(n, ())} for m in reach if m in reach[m]]


@pytest.mark.parametrize('path', LAUNCH, ids=name)
def test_launch_files_hand_work_to_the_library(path: Path):
    used = {m.partition('.')[0] for m in imports(path)} - sys.stdlib_module_names
    assert used <= {'ashtkd_ros', 'launch', 'launch_ros'}
    ours = {storey(m) for m in imports(path) if m.startswith('ashtkd_ros.')}
    assert ours <= {'ros', 'ros.node', 'ros.play', 'ros.trial', 'files', 'cli', 'commands'}


def test_no_modules_import_each_other_in_a_circle():
    assert circles({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == [{'b', 'c'}, {'b', 'c'}]
    drawn = {m: arrows(p) for m, p in MODULES.items()}
    assert sum(map(len, drawn.values())) > 300
    assert not circles(drawn)


def place(of: str) -> str:
    """The folder of a tool, or the file itself if it lies in tools/."""
    parts = of.split('.')[1:]
    return '.'.join(parts[:-1]) or of.partition('.')[2]


@pytest.mark.parametrize('path', [p for p in TOOLS if p.stem != '__init__'], ids=name)
def test_tools_use_only_the_tools_below_them(path: Path):
    own = place(module(path))
    used = {m for m in imports(path) if m.startswith('tools.') and place(m) != own}
    allowed = TOOLS_MAY_USE.get(own, set())
    assert not {m for m in used if not {place(m), m.removeprefix('tools.')} & allowed}


@pytest.mark.parametrize('path', TOOLS, ids=name)
def test_nothing_but_tools_imports_tools(path: Path):
    importers = [name(p) for p in (*PACKAGE, *LAUNCH) if module(path) in imports(p)]
    assert not importers


# The setup script runs before anything is installed, so it must be one file.
@pytest.mark.parametrize('path', [*PACKAGE, *TOOLS, *TESTS, *LAUNCH, ROOT / 'setup.py'], ids=name)
def test_no_file_and_no_function_is_long(path: Path):
    text = path.read_text(encoding='utf-8')
    assert len(text.splitlines()) <= MOST_LINES
    long = [
        f'{node.name}: {node.end_lineno - node.lineno + 1} lines'
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert not long


def test_tests_mirror_the_package():
    """A folder of tests is a folder of the package or of the tools, or holds those of another."""
    folders = {p.parent.relative_to(ROOT / 'test').as_posix() for p in TESTS} - {'.'}
    package = {p.parent.relative_to(ROOT / 'ashtkd_ros').as_posix() for p in PACKAGE} - {'.'}
    tools = {p.parent.relative_to(ROOT).as_posix() for p in TOOLS}
    assert package <= folders <= package | tools | {'launch'}
    top = {f'test_{p.name}' for p in PACKAGE if p.parent == ROOT / 'ashtkd_ros'}
    top |= {'test_layout.py', 'test_rules.py', 'test_documentation.py'}
    assert {p.name for p in (ROOT / 'test').glob('test_*.py')} <= top
