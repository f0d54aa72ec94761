# SPDX-License-Identifier: Apache-2.0
"""The parts of doc/ that are made from the code, and whether they are in step with it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from tools.documentation import help_texts, storeys

PACKAGE_PICTURE, TRAINING_PICTURE = 'pictures/architecture.svg', 'pictures/training.svg'


@dataclass(frozen=True)
class Part:
    """What lies between `<!-- begin: name -->` and `<!-- end: name -->` of a page of doc/.

    `make`: repository → Markdown; `needs`: the module without which it cannot be made.
    """

    page: str
    name: str
    make: Callable[[Path], str]
    needs: str = ''

    def can_be_made(self) -> bool:
        """Whether what it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def parameter_table(root: Path) -> str:
    """The node's parameters as Markdown, from the one place where they are stated."""
    from ashtkd_ros.ros.node.parameters import Parameters

    lines = ['| parameter | default | range | meaning | live |', '|---|---|---|---|---|']
    for field in fields(Parameters):
        about, default = field.metadata, field.default
        shown = str(default).lower() if isinstance(default, bool) else repr(default)
        shown = repr(list(default)) if isinstance(default, tuple) else shown
        low, high = about['range']
        limits = ' or '.join(about['choices']) if low is None else f'{low} to {high}'
        live = 'yes' if about['live'] else ''
        meaning = about['meaning'].replace('|', '\\|')
        lines.append(f'| `{field.name}` | {shown} | {limits} | {meaning} | {live} |')
    return '\n'.join(lines)


def _storey_table(root: Path) -> str:
    return storeys.table(root, storeys.read_graph(root))


PARTS = (
    Part('node.md', 'parameters', parameter_table, 'rclpy'),
    Part('architecture.md', 'storeys', _storey_table),
    Part('commands.md', 'make', help_texts.make_table),
    Part('commands.md', 'commands', help_texts.command_sections, 'rclpy'),
    Part('commands.md', 'launch', help_texts.launch_sections),
    Part('commands.md', 'tools', help_texts.tool_sections, 'torch'),
)


def _between(name: str) -> re.Pattern[str]:
    return re.compile(f'(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)', re.DOTALL)


def written(doc: Path, part: Part) -> str:
    """The part as it stands in its page; ValueError where the page has no such part."""
    found = _between(part.name).search((doc / part.page).read_text(encoding='utf-8'))
    if found is None:
        raise ValueError(f'{part.page} has no part "{part.name}"')
    return found[0].partition('\n')[2].rpartition('\n')[0].strip()


def pictures(root: Path) -> Iterator[tuple[str, str]]:
    """(name below doc/, SVG) of the pictures that are drawn from the imports."""
    graph = storeys.read_graph(root)
    for name, top in ((PACKAGE_PICTURE, ('ashtkd_ros', 'launch')), (TRAINING_PICTURE, ('tools',))):
        kept = {u for u in graph if u.startswith(top)}
        yield name, storeys.draw({u: graph[u] & kept for u in sorted(kept)})


def out_of_step(root: Path) -> list[str]:
    """Pages and pictures whose generated parts are not those of the code; spaces do not count."""
    doc, found = root / 'doc', []
    for part in PARTS:
        if part.can_be_made() and written(doc, part).split() != part.make(root).split():
            found.append(f'{part.page}: {part.name}')
    for name, svg in pictures(root):
        file = doc / name
        if not file.is_file() or file.read_text(encoding='utf-8') != svg:
            found.append(name)
    return found


def write(root: Path) -> list[str]:
    """Make every part and picture anew; the parts that could not be made for want of a module."""
    doc, left = root / 'doc', []
    for part in PARTS:
        if not part.can_be_made():
            left.append(f'{part.page}: {part.name} needs {part.needs}')
            continue
        page, text = doc / part.page, part.make(root)
        new = _between(part.name).sub(
            lambda m, text=text: f'{m[1]}\n{text}\n\n{m[2]}', page.read_text(encoding='utf-8')
        )
        page.write_text(new, encoding='utf-8')
    for name, svg in pictures(root):
        (doc / name).write_text(svg, encoding='utf-8')
    return left
