# SPDX-License-Identifier: Apache-2.0
"""What the node adds to recognition: camera message sent → place received, 640 x 480, raw.

    python -m tools.bench.node_latency

Once by the descriptor only, once verified by local features, where the network gives them. The
node is another process. Embedding and verification are timed in this one between the messages,
with the same network, map and threads.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.cli.arguments import count, positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.recogniser import Recogniser
from ashtkd_ros.ros.play.node_process import observed_node
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import file_frame, read_source
from tools.town import DUSK, build_town_map

_WARM_UP = 10  # images before the first that counts
_PAUSE_S = 0.02  # as between two images of a camera


def enlarged(frames: list[Frame], folder: Path) -> list[Frame]:
    """The frames at 640 x 480, stored without loss."""
    larger = []
    for frame in frames:
        path = folder / f'{frame.file.stem}.png'
        cv2.imwrite(str(path), cv2.resize(frame.read()[..., ::-1], (640, 480)))
        larger.append(file_frame(path, frame.stamp, frame.order))
    return larger


def measure(
    recogniser: Recogniser, frames: list[Frame], images: int, compressed: bool, verify_top: int
) -> np.ndarray:
    """Milliseconds (images, 3) of embedding, verification, and the whole way, taken in turns."""
    embedder, times = recogniser.embedder, []
    parameters = {
        'map_path': recogniser.matcher.map.folder,
        'model_path': embedder.path,
        'num_threads': embedder.options.num_threads,
        'verify_top': verify_top,
    }
    with observed_node(compressed, parameters) as (observer, _):
        observer.wait_until_active()
        for i in range(images + _WARM_UP):
            stamp_ns = s_to_ns(1.0 + i)
            frame = replace(frames[i % len(frames)], stamp_ns=stamp_ns, header_ns=stamp_ns)
            pixels = frame.read()
            time.sleep(_PAUSE_S)
            alone = recogniser.recognise(pixels, verify_top=verify_top)
            time.sleep(_PAUSE_S)
            times.append((alone.embed_s, alone.verify_s, observer.ask(frame).seconds))
    return 1000 * np.array(times[_WARM_UP:])


def line(name: str, times: np.ndarray) -> str:
    """Medians of what `measure` gives, and what the node adds."""
    embed, verify, whole = np.median(times, axis=0)
    alone = np.median(times[:, 0] + times[:, 1])
    return (
        f'{name:>15}: embedding {embed:5.2f} ms, verification {verify:4.2f} ms '
        f'({verify / embed:.2f}), whole node p50 {whole:5.2f} ms, '
        f'p95 {np.percentile(times[:, 2], 95):5.2f} ms; the node adds {whole - alone:.2f} ms'
    )


def compare(model: Path, images: int, threads: int, compressed: bool) -> None:
    """Measure and print."""
    embedder = Embedder(model, num_threads=threads)
    with tempfile.TemporaryDirectory() as name, ros_session([]):
        folder = Path(name)
        recogniser = Recogniser(embedder, PlaceMap.load(build_town_map(folder, model), embedder))
        frames = enlarged(read_source(DUSK)[:20], folder)
        kinds = {'descriptor only': 0}
        if embedder.local is None:
            print(f'{embedder.name} gives no local features: nothing to verify by')
        else:
            kinds['verified'] = MatcherConfig.verify_top
        for kind, verify_top in kinds.items():
            times = measure(recogniser, frames, images, compressed, verify_top)
            print(line(kind, times), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--images',
        type=positive_count,
        default=200,
        help='images to measure (default: %(default)d)',
    )
    add(
        '--threads',
        type=count,
        default=2,
        help='threads of the network; 0: one for each core (default: %(default)d)',
    )
    add(
        '--model',
        type=Path,
        help='network, an .onnx file (default: the network that comes with the package)',
    )
    add('--compressed', action='store_true', help='send PNG as CompressedImage (default: pixels)')
    args = parser.parse_args(argv)
    compare(args.model or shipped_model(), args.images, args.threads, args.compressed)
    return 0


if __name__ == '__main__':
    run_command(main)
