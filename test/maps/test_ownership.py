# SPDX-License-Identifier: Apache-2.0
"""Only maps/ knows the names of a map's files; only two modules put results in place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import ROOT

from ashtkd_ros.maps.folder import DESCRIPTION, INDEX, ROUTE, TABLE
from ashtkd_ros.maps.local_file import LOCAL_FILE
from ashtkd_ros.maps.thumbnails import THUMBNAILS

FILES = [
    p
    for folder in ('ashtkd_ros', 'tools')
    for p in sorted((ROOT / folder).rglob('*.py'))
    if p.name != 'setup_env.py'  # it runs before anything is installed
]
NAMES = {DESCRIPTION, INDEX, LOCAL_FILE, TABLE, ROUTE, f'{THUMBNAILS}/'}
MAPS = ROOT / 'ashtkd_ros' / 'maps'
WRITERS = {ROOT / 'ashtkd_ros' / 'files' / 'writing.py', MAPS / 'replacement.py'}
# The journal's checksums run on from line to line.
HASHERS = {
    ROOT / 'ashtkd_ros' / 'files' / 'checksums.py',
    ROOT / 'ashtkd_ros' / 'mapping' / 'journal.py',
}


@pytest.fixture(scope='module')
def parsed() -> dict[Path, list[ast.AST]]:
    """All nodes of the syntax tree of every file."""
    return {p: list(ast.walk(ast.parse(p.read_text(encoding='utf-8')))) for p in FILES}


def texts(nodes: list[ast.AST]) -> set[object]:
    return {n.value for n in nodes if isinstance(n, ast.Constant)}


def calls(nodes: list[ast.AST]) -> set[str]:
    return {ast.unparse(n.func) for n in nodes if isinstance(n, ast.Call)}


def imported(nodes: list[ast.AST]) -> set[str]:
    return {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}


def test_only_maps_knows_the_names_of_its_files(parsed):
    knowing = {p for p, nodes in parsed.items() if texts(nodes) & NAMES}
    assert {p for p in knowing if MAPS not in p.parents} == set()
    assert knowing  # the rule finds what it looks for


def test_only_two_modules_put_results_in_place(parsed):
    moving = {'os.replace', 'os.rename', 'shutil.move', 'tempfile.mkstemp'}
    moves = {p for p, nodes in parsed.items() if calls(nodes) & moving}
    # the simulated operator swaps maps by hand, as a careless one would
    assert moves - {ROOT / 'tools' / 'trial' / 'driving.py'} == WRITERS


def test_only_one_module_makes_checksums(parsed):
    assert {p for p, nodes in parsed.items() if 'hashlib' in imported(nodes)} == HASHERS
