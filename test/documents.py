# SPDX-License-Identifier: Apache-2.0
"""What the documentation says, taken apart: links, headings, code, commands and their options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from conftest import ROOT

from ashtkd_ros.entry import COMMANDS

_FENCE = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
_CODE = re.compile(r'`([^`\n]+)`')
_CALL = re.compile(
    rf'(?:ros2 run ashtkd_ros |python -m |^)(tools[\w.]*|{"|".join(COMMANDS)})(?= |$)(.*)'
)
_OPTION = re.compile(r'(?<!\S)(--[a-z][\w-]*)')


def text_of(page: Path) -> str:
    return page.read_text(encoding='utf-8')


def links(page: Path) -> list[str]:
    """Targets of links and pictures; what stands in code is none."""
    return _LINK.findall(_CODE.sub('', _FENCE.sub('', text_of(page))))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The headings of a page as GitHub and mkdocs name them in links."""
    heads = re.findall(r'^#+ (.+)$', _FENCE.sub('', text_of(page)), re.MULTILINE)
    plain = [re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', head).lower().strip() for head in heads]
    return frozenset(re.sub(r'[^\w\- ]', '', head).replace(' ', '-') for head in plain)


def blocks(page: Path) -> list[str]:
    """The blocks of code of a page, fences included."""
    return _FENCE.findall(text_of(page))


def code_lines(page: Path) -> Iterator[str]:
    """Lines of blocks of code, continued ones as one, without comments; code within sentences."""
    text = text_of(page)
    for block in blocks(page):
        for line in '\n'.join(block.splitlines()[1:-1]).replace('\\\n', ' ').splitlines():
            yield from re.split(r'\s*(?:&&|\|\||;)\s*', re.split(r'(?:^|\s)#', line)[0].strip())
    yield from _CODE.findall(_FENCE.sub('', text))


def calls(line: str) -> list[tuple[str, str, list[str]]]:
    """(name, module, options) of a command of ours that a line of code calls."""
    found = _CALL.search(line)
    if not found:
        return []
    name, rest = found[1], found[2].partition('--ros-args')[0]
    return [(name, COMMANDS.get(name, name), _OPTION.findall(rest))]


def file_of(module: str) -> Path | None:
    """The file that `python -m module` or an import reads; None where there is none."""
    base = ROOT.joinpath(*module.split('.'))
    for file in (base.with_suffix('.py'), base / '__main__.py', base / '__init__.py'):
        if file.is_file():
            return file
    return None


@cache
def options_of(module: str) -> frozenset[str]:
    """The options that a command's file, one that it imports, or one with its subcommands adds."""
    file = file_of(module)
    trees, found = [ast.parse(text_of(file))], {'--help'}
    for node in ast.walk(trees[0]):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(('ashtkd_ros', 'tools')):
            trees.append(ast.parse(text_of(file_of(node.module))))
            inner = (f'{node.module}.{alias.name}' for alias in node.names)
            found = found.union(*(options_of(m) for m in inner if file_of(m)))
    for node in (n for tree in trees for n in ast.walk(tree)):
        if isinstance(node, ast.Constant) and str(node.value).startswith('--'):
            found |= {node.value, f'--no-{str(node.value)[2:]}'}
    return frozenset(found)
