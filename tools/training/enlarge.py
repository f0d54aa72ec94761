# SPDX-License-Identifier: Apache-2.0
"""An exported student for pictures of more pixels, without further training.

    python -m tools.training.enlarge models/ashtkd_student.onnx --pixels 320 --grid 16 \\
        --data ../shared/data/train -o models/ashtkd_student_320.onnx

The weights stay as they are; those of positions are resampled. Its time grows as the number of
pixels. `--grid` resamples the maps of the local features, so that verification and map do not grow
as well. The confidence is fitted anew on the sets under DATA, as `tools.training.export` does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from ashtkd_ros.cli.arguments import count, positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.files.writing import write_bytes, write_errors
from ashtkd_ros.network.embedder import Embedder
from tools.training.calibrate import calibrate
from tools.training.config import SetsSource, Source, read_config
from tools.training.data.sources import read_places
from tools.training.export import check_local, check_parity, metadata_of, write_onnx
from tools.training.networks.layers import count as count_operations
from tools.training.networks.student import DSFormer, StudentConfig
from tools.training.onnx_file import read_graph
from tools.training.outputs import check_model_output

_MOST_PIXELS = 1024
_CHECKED, _PICTURE_LIMIT = 64, 2**26  # pictures that torch and ONNX Runtime are compared by; bytes


def read_student(path: Path) -> DSFormer:
    """The student in an exported file, whose settings apart from its blocks are the usual ones."""
    graph = read_graph(path)
    blocks = sum(node.name.endswith('/qkv/MatMul') for node in graph.node)
    network = DSFormer(StudentConfig(vit_depths=(blocks,)))
    network.load_exported(path)
    return network.eval()


def enlarged(network: DSFormer, pixels: int, grid: int) -> DSFormer:
    """The same network for pictures of `pixels` x `pixels`, local features on `grid` x `grid`
    positions (0: as many as the pixels give)."""
    if pixels % 16 or not 16 <= pixels <= _MOST_PIXELS:
        raise VprError(f'--pixels {pixels}: give a multiple of 16, {_MOST_PIXELS} at most')
    if grid > pixels // 16:
        raise VprError(f'--grid {grid}: {pixels} pixels give {pixels // 16} positions at most')
    other = network.smaller(len(network.heads), pixels, local_grid=grid)
    other.project.load_state_dict(network.project.state_dict())
    return other


def enlarge(network: DSFormer, data: Path, sources: list[Source], out: Path) -> dict[str, float]:
    """Write a network that `enlarged` gave; what was measured on the way."""
    check_model_output(out)
    if not data.is_dir():
        raise VprError(f'{data}: no such folder; name the one with the training sets')
    pictures = read_places([s for s in sources if isinstance(s, SetsSource)]).pictures
    some = pictures[:: max(1, len(pictures) // _CHECKED)][:_CHECKED]
    jpegs = [np.frombuffer(read_regular(p.path, _PICTURE_LIMIT), np.uint8) for p in some]
    example = torch.zeros(1, 3, *[network.config.image_size] * 2)
    measured = dict(zip(('M parameters', 'GMAC'), count_operations(network, example), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        write_onnx(network, draft, metadata_of(network, out.stem))
        measured['least cosine'] = check_parity(network, draft, jpegs)
        measured['least cosine of local'] = check_local(network, draft, jpegs[:16])
        fitted = calibrate(draft, data, sources)
        if not fitted:
            raise VprError(f'{data}: has no set that the settings know, to fit the confidence to')
        measured |= fitted
        Embedder(draft)  # refuses what a robot would refuse
        with write_errors(out, 'the model'):
            write_bytes(out, draft.read_bytes())
    return measured


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('model', type=Path, help='224-pixel file that tools.training.export wrote')
    text = 'width and height of the pictures, a multiple of 16 (default: %(default)s)'
    add('--pixels', type=positive_count, default=320, help=text)
    text = 'rows and columns of the local features; 0: one each 16 pixels (default: %(default)s)'
    add('--grid', type=count, default=16, help=text)
    text = 'folder of training sets, each with an index.csv'
    add('--data', type=Path, required=True, help=text)
    text = 'settings whose `sources` name the sets and their places (default: %(default)s)'
    add('--config', type=Path, default=Path('config/train/student.yaml'), help=text)
    add('-o', '--out', type=Path, required=True, help='model file to write')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    network = enlarged(read_student(args.model), args.pixels, args.grid)
    measured = enlarge(network, args.data, read_config(args.config).sources, args.out)
    print(f'{args.out}: ' + ', '.join(f'{k} {v:.5g}' for k, v in measured.items()))
    return 0


if __name__ == '__main__':
    run_command(main)
