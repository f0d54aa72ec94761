# SPDX-License-Identifier: Apache-2.0
"""Draw where the student looks: pictures under the salient maps of each level, side by side.

    python -m tools.training.studies.salient models/ashtkd_student.onnx IMAGE ... -o salient.png

An exported student has its salient maps as outputs beside the descriptor (`salient0` is that of
stride 8). The mean of each level's maps is drawn, bright where the level looks.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.salient_pictures import level_pictures
from ashtkd_ros.files.marks import mark_png
from ashtkd_ros.files.writing import write_bytes, write_errors
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import Embedder
from tools.training.outputs import check_picture_output


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('model', type=Path, help='exported student (.onnx)')
    parser.add_argument('images', type=Path, nargs='+', help='pictures to draw, JPEG or PNG')
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('salient.png'),
        help='picture to write (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if not cv2.haveImageWriter(args.out.name):
        raise VprError(f'{args.out}: is no name of a picture; name a .png file')
    check_picture_output(args.out)
    embedder = Embedder(args.model)
    rows = [level_pictures(i, embedder.salient_maps(i)) for i in map(read_image, args.images)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows]
    coded = cv2.imencode(args.out.suffix, np.concatenate(rows)[..., ::-1])[1]
    with write_errors(args.out, 'the picture'):
        write_bytes(args.out, mark_png(coded.tobytes()))
    print(
        f'{args.out}: {len(rows)} pictures; to the right of each its levels, from stride 8 upwards'
    )
    return 0


if __name__ == '__main__':
    run_command(main)
