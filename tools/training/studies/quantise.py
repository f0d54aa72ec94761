# SPDX-License-Identifier: Apache-2.0
"""Make int8 variants of an exported student and compare them with it: size, time, Recall@1.

    python -m tools.training.studies.quantise models/ashtkd_student.onnx \\
        --images ../shared/data/train --data ../shared/data/val -o runs/int8

ONNX Runtime quantises (onnxruntime.quantization); what is quantised is this project's choice. It
was made by the cosine to fp32 on training pictures that were not used for calibration. The
validation sets only tell whether a variant can be shipped.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.files.writing import whole_file, write_errors
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import Embedder
from tools.bench.embedding import measure
from tools.training.outputs import check_model_output
from tools.training.studies.evaluate_sets import add_validation_option, validation_sets
from tools.training.studies.student_sets import answer_set

VARIANTS = ('int8_dynamic', 'int8_static')
_THREADS = (2, 1)
_TIMED_SIZE = (224, 224)
_LARGEST_LOSS = 1.0
# The blocks down to stride 8 stay in float: MobileNetV2's first ones hold channels of very unequal
# ranges. Mean cosine to fp32 0.997 without them, 0.898 with them, for the same time.
_KEPT_IN_FLOAT = ('/stem/', '/local/', '/combine/')


class _Reader:
    """What ONNX Runtime's calibration asks for: one input at a time, then None."""

    def __init__(self, name: str, images: np.ndarray):
        self._inputs = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def calibration_images(
    folder: Path, embedder: Embedder, count: int = 200, seed: int = 0
) -> np.ndarray:
    """About `count` pictures as the network takes them, float32 (N, 3, h, w).

    The same number from every set (index.csv) under `folder`, all of a set that has fewer. Raises
    VprError where there is no set, or a picture cannot be read.
    """
    sets = sorted(table.parent for table in folder.glob('*/index.csv'))
    if not sets:
        raise VprError(
            f'{folder}: holds no set (a folder with index.csv) to calibrate on; name another '
            'folder'
        )
    rng, each, images = np.random.default_rng(seed), math.ceil(count / len(sets)), []
    for folder in sets:
        names = [row['file'] for _, row in read_rows(folder / 'index.csv', ('file',))]
        chosen = [folder / names[i] for i in rng.permutation(len(names))[:each]]
        images += [embedder.preprocess(read_image(file)) for file in chosen]
    return np.stack(images)


def check_variants(model: Path, folder: Path) -> None:
    """VprError where the variants of a model cannot be written into `folder`."""
    for variant in VARIANTS:
        check_model_output(_variant_path(model, variant, folder))


def quantise(model: Path, images: np.ndarray, folder: Path) -> dict[str, Path]:
    """Write both variants of `model` into `folder`; returns variant → file.

    `images`: float32 (N, 3, h, w), for the ranges of the static variant. The metadata stay, the
    name gains the variant. Raises VprError where the library lacks a part or refuses the model.
    """
    check_variants(model, folder)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            drafts = _quantise(model, images, Path(scratch))
        except ImportError as error:
            raise VprError(
                f'onnxruntime.quantization cannot be used ({error.name or error} is missing); '
                'install onnx and sympy, see tools/requirements/training.txt'
            ) from error
        except Exception as error:  # the library raises whatever its parts raise
            reason = (str(error) or repr(error)).splitlines()[0]
            raise VprError(f'{model}: ONNX Runtime cannot quantise it ({reason})') from error
        return {v: _keep(draft, model, v, folder) for v, draft in drafts.items()}


def _quantise(model: Path, images: np.ndarray, scratch: Path) -> dict[str, Path]:
    """Dynamic: MatMul alone, since ConvInteger made the student eight times slower and wrong.

    Static QDQ: ranges by min-max (percentiles did no better), weights per channel. Weights take 7
    bits in both: without VNNI, 8-bit products overflow 16 bits. Attention (no constant weight),
    softmax and LayerNorm stay in float.
    """
    import onnx
    from onnxruntime import quantization as library

    ready, dynamic, static = (scratch / f'{name}.onnx' for name in ('ready', *VARIANTS))
    library.quant_pre_process(str(model), str(ready))
    weights = {'per_channel': True, 'reduce_range': True, 'weight_type': library.QuantType.QInt8}
    library.quantize_dynamic(ready, dynamic, op_types_to_quantize=['MatMul'], **weights)
    graph = onnx.load(str(ready)).graph
    constants = {i.name for i in graph.initializer}
    outputs = {o.name for o in graph.output}
    library.quantize_static(
        ready,
        static,
        _Reader(graph.input[0].name, images),
        op_types_to_quantize=['Conv', 'Clip', 'Gemm', 'MatMul', 'Add'],
        nodes_to_exclude=[
            n.name
            for n in graph.node
            if n.name.startswith(_KEPT_IN_FLOAT)
            or (n.op_type == 'MatMul' and not constants.intersection(n.input))
            or outputs.intersection(n.input)  # which would be rounded with them
        ],
        activation_type=library.QuantType.QUInt8,
        calibrate_method=library.CalibrationMethod.MinMax,
        **weights,
    )
    return dict(zip(VARIANTS, (dynamic, static), strict=True))


def _keep(draft: Path, model: Path, variant: str, folder: Path) -> Path:
    """Save a draft in `folder` with the metadata of the float model.

    Operator sets that it names and does not use are left out: an older ONNX Runtime, as of a
    Jetson, refuses those that it does not know.
    """
    import onnx

    metadata = {p.key: p.value for p in onnx.load(str(model)).metadata_props}
    metadata['name'] = f'{metadata.get("name", model.stem)}_{variant}'
    quantised, out = onnx.load(str(draft)), _variant_path(model, variant, folder)
    del quantised.metadata_props[:]
    used = {node.domain for node in quantised.graph.node}
    kept = [opset for opset in quantised.opset_import if opset.domain in used]
    del quantised.opset_import[:]
    quantised.opset_import.extend(kept)
    onnx.helper.set_model_props(quantised, metadata)
    with write_errors(out, 'the model'), whole_file(out) as draft:
        onnx.save(quantised, str(draft))
    return out


def _variant_path(model: Path, variant: str, folder: Path) -> Path:
    return folder / f'{model.stem}_{variant}.onnx'


def verdict(
    recalls_fp32: Mapping[str, float], recalls: Mapping[str, float], ms_fp32: float, ms: float
) -> str:
    """`ships`, or `does not ship:` and why.

    `recalls`: set → Recall@1 in %; a variant may lose one point on each set at most.
    `ms`: milliseconds of one image in the same run; a variant must be faster.
    """
    # Rounded, so that 87.1 - 86.1 is one point and not a little more.
    lost = {name: round(r - recalls[name], 6) for name, r in recalls_fp32.items()}
    worst = max(lost, key=lost.__getitem__)
    reasons = [f'loses {lost[worst]:.1f} points on {worst}'] if lost[worst] > _LARGEST_LOSS else []
    if ms >= ms_fp32:
        reasons.append(f'not faster ({ms:.1f} ms, fp32 {ms_fp32:.1f} ms)')
    return 'does not ship: ' + ', '.join(reasons) if reasons else 'ships'


def _recalls(embedder: Embedder, sets: list[Path]) -> dict[str, float]:
    """Recall@1 in % on each set, of the descriptor alone and verified."""
    found = {folder.name: answer_set(folder, embedder) for folder in sets}
    return {
        f'{name} {method}': 100 * answers.metrics().recall[1]
        for name, methods in found.items()
        for method, answers in methods.items()
    }


def report(files: Mapping[str, Path], sets: list[Path], rounds: int = 60) -> list[str]:
    """Lines of the table and a verdict a variant; the first of `files` is the float model."""
    times = {threads: measure([*files.values()], rounds, threads) for threads in _THREADS}
    times = {t: {v: ms[path.stem] for v, path in files.items()} for t, ms in times.items()}
    recalls = {v: _recalls(Embedder(path), sets) for v, path in files.items()}
    rows = {'size, MB': {v: path.stat().st_size / 1e6 for v, path in files.items()}}
    rows |= {f'ms, threads: {t}': times[t] for t in _THREADS}
    rows |= {f'R@1 {n}': {v: recalls[v][n] for v in files} for n in recalls[next(iter(files))]}
    lines = [' ' * 24 + ''.join(f'{v:>14}' for v in files)]
    lines += [
        f'{title:>24}' + ''.join(f'{r[v]:14.1f}' for v in files) for title, r in rows.items()
    ]
    base, *variants = files
    for v in variants:
        # It must be faster with either number of threads: the worse one is judged.
        t = max(_THREADS, key=lambda t, v=v: times[t][v] / times[t][base])
        outcome = verdict(recalls[base], recalls[v], times[t][base], times[t][v])
        lines.append(f'{files[v]}: {outcome}')
    return lines


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('model', type=Path, help='exported student (.onnx), in fp32')
    parser.add_argument(
        '--images',
        type=Path,
        required=True,
        help='folder of training sets, each with an index.csv, for the calibration',
    )
    add_validation_option(parser)
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('runs/int8'),
        help='folder for the variants (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    embedder, sets = Embedder(args.model), validation_sets(args.data)
    if embedder.preprocessing.size != _TIMED_SIZE:
        raise VprError(
            f'{args.model}: takes images of another size than 224 x 224; only that size is '
            'timed here'
        )
    check_variants(args.model, args.out)
    files = quantise(args.model, calibration_images(args.images, embedder), args.out)
    print('\n'.join(report({'fp32': args.model, **files}, sets)))
    return 0


if __name__ == '__main__':
    run_command(main)
