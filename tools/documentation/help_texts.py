# SPDX-License-Identifier: Apache-2.0
"""What every command says to --help, and what every launch file says to --show-args."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from ashtkd_ros.commands.evaluate import evaluate_parser
from ashtkd_ros.entry import COMMANDS

_COLUMNS = '110'
# Tools that are not commands for users, or are read by people rather than asked for help.
_NOT_ASKED = ('tools/documentation', 'tools/examples', 'tools/without_ros')
_SUBCOMMANDS = re.compile(r'^\s*\{([a-z_,]+)\}', re.MULTILINE)


def help_of(module: str, shown: str, *before: str) -> str:
    """What `module`.main says to --help; `shown`: how a user calls it, `before`: a subcommand.

    RuntimeError where it says nothing.
    """
    main = importlib.import_module(module).main
    text = io.StringIO()
    changed = mock.patch.dict(os.environ, {'COLUMNS': _COLUMNS, 'NO_COLOR': '1'})
    named = mock.patch.object(sys, 'argv', [shown, *before, '--help'])
    with changed, named, contextlib.redirect_stdout(text):
        try:
            main()
        except SystemExit as end:
            if not end.code and text.getvalue():
                return text.getvalue().rstrip()
    raise RuntimeError(f'{module} says nothing to --help')


def tool_modules(root: Path) -> list[str]:
    """Modules under tools/ that have a `main(argv)`, by name."""
    found = []
    for file in sorted((root / 'tools').rglob('*.py')):
        name = file.relative_to(root).with_suffix('')
        if name.as_posix().startswith(_NOT_ASKED):
            continue
        tree = ast.parse(file.read_text(encoding='utf-8'))
        if any(isinstance(node, ast.FunctionDef) and node.name == 'main' for node in tree.body):
            found.append('.'.join(name.parts))
    return found


def command_sections(root: Path) -> str:
    """A heading and a block for each installed command, subcommands included; Markdown."""
    return '\n\n'.join(_sections(COMMANDS, 'ros2 run ashtkd_ros '))


def tool_sections(root: Path) -> str:
    """The same for the modules under tools/; ImportError where torch is missing."""
    called = {module.removesuffix('.__main__'): module for module in tool_modules(root)}
    return '\n\n'.join(_sections(called, 'python -m '))


def _sections(called: dict[str, str], prefix: str) -> Iterator[str]:
    for name, module in called.items():
        text = help_of(module, name)
        yield f'### {name}\n\n```\n$ {prefix}{name} --help\n{text}\n```'
        found = _SUBCOMMANDS.search(text)
        for word in found[1].split(',') if found else ():
            more = help_of(module, name, word)
            yield f'```\n$ {prefix}{name} {word} --help\n{more}\n```'


def launch_sections(root: Path) -> str:
    """A heading and a table of arguments for each launch file, from the tables in its text.

    They are read, not run: a machine without ROS's launch has the same page.
    """
    parts = []
    for file in sorted((root / 'launch').glob('*.launch.py')):
        tree = ast.parse(file.read_text(encoding='utf-8'))
        rows = ['| argument | default | meaning |', '|---|---|---|']
        for name, default, meaning in _stated(tree):
            rows.append(f'| `{name}` | {default} | {meaning} |'.replace('  ', ' '))
        about = (ast.get_docstring(tree) or '').partition('\n')[0]
        parts += [f'### {file.name}', about, '\n'.join(rows)]
        if options := ', '.join(f'`{name}`' for name in _passed_on(tree)):
            parts.append(f'And these options of `evaluate`, which explains them: {options}.')
    return '\n\n'.join(parts)


def launch_arguments(root: Path) -> set[str]:
    """The names of all arguments of all launch files, but the parameters of vpr_node."""
    names = set()
    for file in (root / 'launch').glob('*.launch.py'):
        tree = ast.parse(file.read_text(encoding='utf-8'))
        names.update(_passed_on(tree), (name for name, _, _ in _stated(tree)))
    return names


def _stated(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(argument, default, meaning) of the constants at the top of a launch file, and of those of
    the package that they are made of."""
    imported = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        for part in parts:
            name = ast.unparse(part).removeprefix('*')
            if name in imported:
                value = getattr(importlib.import_module(imported[name]), name)
                yield from value if isinstance(part, ast.Starred) else [value]
                continue
            with contextlib.suppress(ValueError):
                value = ast.literal_eval(part)
                if isinstance(value, dict):
                    yield from ((name, '', meaning) for name, meaning in value.items())
                elif isinstance(value, tuple) and len(value) == 3:
                    yield value


def _passed_on(tree: ast.Module) -> list[str]:
    """The options of `evaluate`, all but those in the constant _NOT_PASSED_ON of a launch file."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_NOT_PASSED_ON':
            kept = ast.literal_eval(node.value)
            return [o.dest for o in evaluate_parser().arguments if o.dest not in kept]
    return []


def make_table(root: Path) -> str:
    """The targets of the Makefile with what `make help` says of them."""
    text = (root / 'Makefile').read_text(encoding='utf-8')
    rows = re.findall(r'^([a-z]+):.*  ## (.*)$', text, re.MULTILINE)
    lines = [f'| `make {target}` | {about} |' for target, about in rows]
    return '\n'.join(['| command | does |', '|---|---|', *lines])
