# SPDX-License-Identifier: Apache-2.0
"""Measure time and Recall@1 of one trained student in several sizes, and the teachers' time.

    python -m tools.training.studies.tradeoff runs/asht/student --data ../shared/data/val

A size is a number of levels, of pixels and, if not all, of blocks of a transformer level. Nothing
is trained: no level depends on those above it. A smaller student is a part of the trained one, and
its last layers are fitted again. The recall is by the descriptor alone, and verified by local
features, which need three levels.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from tqdm import tqdm

from ashtkd_ros.cli.arguments import count as whole_number
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.marks import PNG_METADATA
from ashtkd_ros.files.writing import whole_file, write_errors, write_text
from ashtkd_ros.network.embedder import Embedder
from tools.bench.embedding import measure
from tools.training.export import load_student, metadata_of, write_onnx
from tools.training.networks.layers import count
from tools.training.outputs import (
    check_model_output,
    check_picture_output,
    check_table_output,
)
from tools.training.studies.evaluate_sets import (
    add_validation_option,
    validation_sets,
)
from tools.training.studies.student_sets import DESCRIPTOR, VERIFIED, answer_set
from tools.training.whitening import finish

_FEWEST_LEVELS = 2
_FITTED_ON = 2500


@dataclass(frozen=True)
class Point:
    """A network's time (ms); of a student also parameters (M), GMAC and Recall@1 (%).

    `recall`: set → by the descriptor alone, and, where there are local features, verified.
    """

    name: str
    ms: float
    parameters: float = 0.0
    macs: float = 0.0
    recall: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean Recall@1 over the sets, of each method."""
        return tuple(np.mean(list(self.recall.values()), axis=0).tolist())


class Size(NamedTuple):
    """`blocks`: of each transformer level, the first ones; 0: all."""

    levels: int
    pixels: int
    blocks: int = 0

    @property
    def name(self) -> str:
        """Of the file and in the table."""
        blocks = f'_{self.blocks}_blocks' if self.blocks else ''
        return f'{self.levels}_levels_{self.pixels}{blocks}'


def usual_sizes(levels: int, pixels: int, blocks: int) -> list[Size]:
    """Of a student: every number of levels and of blocks, and three of smaller pictures.

    Three levels have local features, so that at least three sizes can be verified.
    """
    sizes = {Size(n, pixels) for n in range(_FEWEST_LEVELS, levels + 1)}
    smaller = range(pixels - 32, max(pixels - 128, 0), -32)
    sizes |= {Size(min(3, levels), fewer) for fewer in smaller}
    return sorted(sizes | {Size(levels, pixels, n) for n in range(1, blocks)})


def write_sizes(
    run: Path, sizes: list[Size] | None, folder: Path
) -> dict[Path, tuple[float, float]]:
    """Export every size of a trained student; file → parameters (M), GMAC.

    `sizes` None: the usual ones of its levels, pixels and blocks.
    """
    trained, views = load_student(run)
    most, config = len(trained.heads), trained.config
    sizes = sizes or usual_sizes(most, config.image_size, max(config.vit_depths, default=0))
    paths = {size: folder / f'{size.name}.onnx' for size in sizes}
    for size, path in paths.items():
        if not _FEWEST_LEVELS <= size.levels <= most or size.pixels % 32:
            raise VprError(
                f'{size.levels} levels of {size.pixels} pixels: must be {_FEWEST_LEVELS} to '
                f'{most} levels and a multiple of 32 pixels'
            )
        if size.blocks and not (
            size.levels > _FEWEST_LEVELS and 0 < size.blocks <= max(config.vit_depths)
        ):
            raise VprError(
                f'{size.blocks} blocks of {size.levels} levels: must be 1 to '
                f'{max(config.vit_depths, default=0)} of more than {_FEWEST_LEVELS} levels'
            )
        check_model_output(path)
    written = {}
    for size, path in tqdm(paths.items(), desc='sizes', delay=2, disable=None):
        network = trained.smaller(*size)
        finish(network, views, _FITTED_ON)
        write_onnx(network, path, metadata_of(network, path.stem))
        written[path] = count(network, torch.zeros(1, 3, size.pixels, size.pixels))
    return written


def points(
    students: dict[Path, tuple[float, float]], teachers: list[Path], sets: list[Path], rounds: int
) -> list[Point]:
    """Measure the students, and the time of the teachers; all in turn in one run, two threads."""
    ms = measure([*students, *teachers], rounds, 2)
    networks = [Point(path.stem, ms[path.stem]) for path in teachers]
    for path, size in tqdm(students.items(), desc='recall', delay=2, disable=None):
        embedder = Embedder(path, num_threads=1)
        answers = {folder.name: answer_set(folder, embedder) for folder in sets}
        recall = {
            name: tuple(100 * float(a.first_right.mean()) for a in found.values())
            for name, found in answers.items()
        }
        networks.append(Point(path.stem, ms[path.stem], *size, recall))
    return networks


def table(networks: list[Point]) -> str:
    """Markdown, the fastest first; times relative to the slowest; recall descriptor / verified."""
    slowest = max(p.ms for p in networks)
    names = next(list(p.recall) for p in networks if p.recall)
    lines = [f'| | ms | M | GMAC | {" | ".join(names)} | mean |']
    lines.append('|---|' + '---|' * (4 + len(names)))
    for p in sorted(networks, key=lambda p: p.ms):
        cells = [p.name, f'{p.ms:.1f} ({slowest / p.ms:.1f}x)', *[''] * (3 + len(names))]
        if p.recall:
            pairs = (*p.recall.values(), p.mean)
            recall = [' / '.join(f'{v:.1f}' for v in pair) for pair in pairs]
            cells[2:] = [f'{p.parameters:.2f}', f'{p.macs:.3f}', *recall]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def picture(networks: list[Point], path: Path) -> None:
    """Milliseconds to the right, mean Recall@1 up."""
    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout='constrained')
    students = sorted((p for p in networks if p.recall), key=lambda p: p.ms)
    for k, (method, colour) in enumerate(((DESCRIPTOR, '#7aa6c2'), (VERIFIED, '#2f6f8f'))):
        measured = [(p.ms, p.mean[k]) for p in students if len(p.mean) > k]
        if measured:
            axes.plot(*zip(*measured, strict=True), 'o', color=colour, label=method)
    for p in students:
        axes.annotate(p.name, (p.ms, p.mean[-1]), xytext=(4, 4), textcoords='offset points')
    axes.legend()
    axes.set(xlabel='one image, two threads [ms]', ylabel='mean Recall@1 [%]')
    axes.margins(0.2)
    with write_errors(path, 'the picture'), whole_file(path) as draft:
        figure.savefig(draft, dpi=100, metadata=PNG_METADATA)
    pyplot.close(figure)


def _read_sizes(texts: list[str]) -> list[Size]:
    """Sizes in texts such as 3x224 or 3x224x2; VprError for another form."""
    try:
        return [Size(*map(int, text.split('x'))) for text in texts]
    except (ValueError, TypeError):
        raise VprError(
            f'--sizes {" ".join(texts)}: write each size as levels x pixels, such as 3x224, or '
            'levels x pixels x blocks'
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        'run', type=Path, help="the student's folder that tools.training.train wrote"
    )
    add_validation_option(parser)
    parser.add_argument(
        '--teachers',
        type=Path,
        default=Path('../shared/teachers'),
        help='folder of frozen networks (.onnx) to time (default: %(default)s)',
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        default=[],
        help='sizes to measure, levels x pixels or levels x pixels x blocks, such as 3x224x2 '
        '(default: those that suit the run)',
    )
    parser.add_argument(
        '--rounds',
        type=whole_number,
        default=60,
        help='number of times that each network is timed (default: %(default)s)',
    )
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('runs/tradeoff'),
        help='folder for models, table and picture (default: %(default)s)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    sizes, sets = _read_sizes(args.sizes), validation_sets(args.data)
    written, drawn = args.out / 'tradeoff.md', args.out / 'tradeoff.png'
    check_table_output(written)
    check_picture_output(drawn)
    students = write_sizes(args.run, sizes, args.out)
    networks = points(students, sorted(args.teachers.glob('*.onnx')), sets, args.rounds)
    print(table(networks))
    with write_errors(written, 'the table'):
        write_text(written, table(networks) + '\n')
    picture(networks, drawn)
    return 0


if __name__ == '__main__':
    run_command(main)
