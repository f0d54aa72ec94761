# SPDX-License-Identifier: Apache-2.0
"""Resident memory of the node with a large map, with and without its local features.

    python -m tools.bench.node_memory --places 10000

The map has random numbers of the network's sizes, see map_size. The memory is read after so many
images of 640 x 480 have been answered, each verified where the map has local features.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.ros.play.node_process import observed_node
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.bench.map_size import save_map
from tools.bench.node_latency import enlarged
from tools.process_usage import resident_mib
from tools.town import DUSK


def measure(map_folder: Path, model: Path, frames: list[Frame], images: int) -> tuple[float, str]:
    """MiB of a node after it has answered so many images, and whether it verified them."""
    parameters = {'map_path': map_folder, 'model_path': model}
    with observed_node(False, parameters) as (observer, node):
        observer.wait_until_active()
        for i in range(images):
            stamp_ns = s_to_ns(1.0 + i)
            frame = frames[i % len(frames)]
            observer.ask(replace(frame, stamp_ns=stamp_ns, header_ns=stamp_ns))
        observer.wait_for_answers(images)
        return resident_mib(node.pid), observer.diagnostics['verification']


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    text = 'number of places (default: %(default)d)'
    add('--places', type=positive_count, default=10_000, help=text)
    text = 'number of images (default: %(default)d)'
    add('--images', type=positive_count, default=200, help=text)
    text = 'network, an .onnx file (default: the network that comes with the package)'
    add('--model', type=Path, default=shipped_model(), help=text)
    args = parser.parse_args(argv)
    if Embedder(args.model).local is None:
        raise VprError(f'{args.model}: gives no local features; name another --model')
    with tempfile.TemporaryDirectory() as name, ros_session([]):
        frames = enlarged(read_source(DUSK)[:20], Path(name))
        for with_local in (False, True):
            folder = Path(name, 'map')
            save_map(folder, args.places, args.model, with_local)
            memory, verification = measure(folder, args.model, frames, args.images)
            kind = 'with' if with_local else 'without'
            print(
                f'{kind:>7} local features: {memory:.0f} MiB after {args.images} images, '
                f'verification {verification}',
                flush=True,
            )
    return 0


if __name__ == '__main__':
    run_command(main)
