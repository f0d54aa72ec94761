# SPDX-License-Identifier: Apache-2.0
"""Which folder imports which, and the picture of that: every arrow points down."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

# Folders whose Python files are drawn, and those below that are left out.
_DRAWN = ('ashtkd_ros', 'launch', 'tools')
_LEFT_OUT = ('tools/documentation', 'tools/examples', 'tools/without_ros')
# Folders whose files lie on several storeys: each is a box.
_LOOSE = ('ashtkd_ros', 'tools', 'tools/training')
# What a folder is for that is no package.
_ABOUT = {'launch': 'What `ros2 launch` starts, a file a launch.'}
_WIDTH, _ROW, _BOX, _MARGIN = 840, 80, 42, 12
_LETTER, _PADDING, _GAP = 8.0, 18, 14
# Light and dark pages alike: the picture has its own ground.
_COLOURS = {'ashtkd_ros': '#dbeafe', 'ros': '#dcfce7', 'tools': '#fef3c7', 'launch': '#fce7f3'}
Graph = Mapping[str, frozenset[str]]


def unit_of(file: Path) -> str:
    """The box that a file (relative to the repository) lies in: its folder, or by itself."""
    folder = file.parent.as_posix()
    alone = file.name != '__init__.py' and folder in _LOOSE
    return file.as_posix() if alone else folder


def _files(root: Path) -> list[Path]:
    found = sorted(p.relative_to(root) for top in _DRAWN for p in (root / top).rglob('*.py'))
    return [p for p in found if not p.as_posix().startswith(_LEFT_OUT)]


def _imported(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def read_graph(root: Path) -> dict[str, frozenset[str]]:
    """Box → boxes that its files import, itself left out; `root` is the repository."""
    files = _files(root)
    modules = {'.'.join(f.with_suffix('').parts).removesuffix('.__init__'): f for f in files}
    found: dict[str, set[str]] = {}
    for file in files:
        targets = found.setdefault(unit_of(file), set())
        for name in _imported(ast.parse((root / file).read_text(encoding='utf-8'))):
            while name and name not in modules:
                name = name.rpartition('.')[0]
            if name:
                targets.add(unit_of(modules[name]))
    bare = set(_LOOSE)  # their own __init__ says nothing
    return {u: frozenset(t - {u} - bare) for u, t in found.items() if u not in bare}


def heights(graph: Graph) -> dict[str, int]:
    """Box → storey, 0 at the bottom: one above the highest that it imports.

    ValueError where boxes import each other in a circle.
    """
    known: dict[str, int] = {}

    def height(unit: str, above: tuple[str, ...]) -> int:
        if unit in above:
            raise ValueError(f'imports form a circle: {" → ".join((*above, unit))}')
        if unit not in known:
            below = [height(u, (*above, unit)) for u in sorted(graph.get(unit, ()))]
            known[unit] = max(below, default=-1) + 1
        return known[unit]

    for unit in sorted(graph):
        height(unit, ())
    return known


def plain_arrows(graph: Graph) -> list[tuple[str, str]]:
    """(from, to) of the imports that no path of other imports implies, sorted."""
    reached: dict[str, frozenset[str]] = {}

    def reach(unit: str) -> frozenset[str]:
        if unit not in reached:
            below = graph.get(unit, frozenset())
            reached[unit] = below.union(*(reach(u) for u in below))
        return reached[unit]

    return sorted(
        (unit, other)
        for unit, below in graph.items()
        for other in below
        if not any(other in reach(between) for between in below - {other})
    )


def rows(graph: Graph) -> list[list[str]]:
    """The storeys, the topmost first; within one, each box is near what it imports."""
    storey = heights(graph)
    place: dict[str, float] = {}
    found = []
    for level in range(max(storey.values()) + 1):
        units = sorted(u for u, h in storey.items() if h == level)
        ideal = {
            u: sum(place[o] for o in graph[u] if o in place) / len(graph[u]) if graph[u] else 0.5
            for u in units
        }
        units.sort(key=lambda u, ideal=ideal: (round(ideal[u], 6), u))
        place |= {u: (i + 1) / (len(units) + 1) for i, u in enumerate(units)}
        found.append(units)
    return found[::-1]


def _name(unit: str) -> str:
    return unit.removeprefix('ashtkd_ros/').removeprefix('tools/')


def _colour(unit: str) -> str:
    top = unit.partition('/')[0]
    return _COLOURS['ros' if unit.startswith('ashtkd_ros/ros') else top]


def _boxes(graph: Graph) -> dict[str, tuple[float, float, float]]:
    """Box → x of its middle, y of its top, width, in pixels."""
    found = {}
    for i, units in enumerate(rows(graph)):
        widths = [_LETTER * len(_name(u)) + _PADDING for u in units]
        free = _WIDTH - 2 * _MARGIN - sum(widths)
        gap = max(_GAP, free / (len(units) + 1))
        x = _MARGIN + max(0.0, (free - gap * (len(units) - 1)) / 2)
        for unit, width in zip(units, widths, strict=True):
            found[unit] = (x + width / 2, _MARGIN + i * _ROW, width)
            x += width + gap
    return found


def draw(graph: Graph) -> str:
    """The picture as SVG; the same graph gives the same bytes."""
    boxes = _boxes(graph)
    high = int(max(y for _, y, _ in boxes.values())) + _BOX + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {high}" '
        'font-family="DejaVu Sans Mono, monospace" font-size="13">',
        '<title>Storeys of ashtkd_ros: arrows are imports</title>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{high}" fill="#ffffff"/>',
    ]
    for unit, other in plain_arrows(graph):
        (x, y, _), (to_x, to_y, _) = boxes[unit], boxes[other]
        y, bend = y + _BOX, 0.45 * (to_y - y - _BOX)
        lines.append(
            f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} '
            f'{to_x:.0f} {to_y:.0f}" fill="none" stroke="#64748b" marker-end="url(#tip)"/>'
        )
    for unit, (x, y, width) in boxes.items():
        lines.append(
            f'<rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_BOX}" '
            f'rx="6" fill="{_colour(unit)}" stroke="#334155"/>'
            f'<text x="{x:.0f}" y="{y + _BOX / 2 + 4:.0f}" text-anchor="middle" '
            f'fill="#0f172a">{escape(_name(unit))}</text>'
        )
    return '\n'.join([*lines, '</svg>', ''])


def _says(root: Path, unit: str) -> str:
    """The first sentence of a folder's or a file's docstring."""
    if unit in _ABOUT:
        return _ABOUT[unit]
    file = root / unit
    if not unit.endswith('.py'):
        file /= '__init__.py'
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))) if file.is_file() else ''
    return ' '.join((text or '').partition('\n\n')[0].split())


def table(root: Path, graph: Graph) -> str:
    """Every box with what it is for and what it imports, as Markdown, the topmost storey first."""
    lines = ['| storey | folder | what | imports |', '|---|---|---|---|']
    storey = heights(graph)
    for units in rows(graph):
        for unit in sorted(units):
            below = ', '.join(f'`{_name(u)}`' for u in sorted(graph[unit]))
            lines.append(f'| {storey[unit]} | `{unit}` | {_says(root, unit)} | {below} |')
    return '\n'.join(lines)
