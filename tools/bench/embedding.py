# SPDX-License-Identifier: Apache-2.0
"""Time of one image: the student against the frozen teachers, in turns, same threads.

python -m tools.bench.embedding --teachers ../shared/teachers
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.network.shipped_model import shipped_model

TIMED_SIZE = (224, 224)


def open_session(path: Path, threads: int):
    """An InferenceSession as the node opens its model."""
    import onnxruntime  # after the package, which turns its telemetry off

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def measure(models: list[Path], rounds: int, threads: int) -> dict[str, float]:
    """Median milliseconds of one image for each model; the models take turns in every round."""
    sessions = {path.stem: open_session(path, threads) for path in models}
    rng = np.random.default_rng(0)
    images = {name: rng.random((1, 3, *_size(s)), np.float32) for name, s in sessions.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds + 3):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(['descriptor'], {'image': images[name]})
            times[name].append(time.perf_counter() - started)
    return {name: 1000 * float(np.median(values[3:])) for name, values in times.items()}


def _size(session) -> tuple[int, int]:
    """Height and width that a network takes; TIMED_SIZE where it takes any."""
    height, width = session.get_inputs()[0].shape[2:]
    return (height, width) if isinstance(height, int) else TIMED_SIZE


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--teachers',
        type=Path,
        default=Path('../shared/teachers'),
        help='folder of the teachers, .onnx files (default: %(default)s)',
    )
    add(
        '--rounds',
        type=positive_count,
        default=60,
        help='images for each network (default: %(default)d)',
    )
    add(
        '--threads',
        type=positive_count,
        default=2,
        help='threads of each network (default: %(default)d)',
    )
    args = parser.parse_args(argv)
    teachers = sorted(args.teachers.glob('*.onnx'))
    if not teachers:
        print(f'{args.teachers}: no teacher (.onnx): the students alone; see --teachers')
    shipped = sorted(shipped_model().parent.glob('*.onnx'))
    medians = measure([*shipped, *teachers], args.rounds, args.threads)
    student = medians[shipped_model().stem]
    for name, value in medians.items():
        print(f'{name:>24}  {value:6.2f} ms  {value / student:5.2f} times the student')
    return 0


if __name__ == '__main__':
    run_command(main)
