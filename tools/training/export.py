# SPDX-License-Identifier: Apache-2.0
"""Export a trained student to ONNX: finished, checked against torch, with everything it needs.

    python -m tools.training.export runs/asht/student --data DATA -o models/ashtkd_student.onnx

The layer of the local features learns to rank candidates (`ranking`), then the layers of the
descriptor are fitted to the network, on the whole training pictures (`whitening.finish`). The
preprocessing and the coefficients of the confidence go into the metadata. The coefficients are
fitted on the sets under DATA that have `positives` in the settings of the run; without such sets
the model has none, and its confidence is the similarity.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F

from ashtkd_ros.cli.arguments import count, share
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file, write_bytes, write_errors
from ashtkd_ros.network.embedder import PREPROCESSING_KEY, Embedder
from ashtkd_ros.network.local_features import LOCAL
from tools.training.calibrate import calibrate
from tools.training.config import read_sources
from tools.training.data.held_back import without_held_back
from tools.training.data.sources import read_places
from tools.training.data.views import Views
from tools.training.networks.layers import count as count_operations
from tools.training.networks.student import DSFormer, StudentConfig
from tools.training.outputs import check_model_output
from tools.training.ranking import teach_ranking
from tools.training.run_folder import load_checkpoint, read_config
from tools.training.setting_types import checked
from tools.training.whitening import POWER, describe_pictures, finish, some_of_whole

_LEAST_COSINE = 0.9999
_LEAST_LOCAL = 0.999
_FIRST_FIT = 2500  # pictures for the descriptor that candidates are found by


def read_run(run: Path) -> dict:
    """The settings of a run's folder; VprError when there are none."""
    try:
        config = read_config(run)
        _ = config['student'], config['views_folder'], config['sources']
        config['schedule']['steps'] += 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VprError(
            f'{run}: holds no run; name a folder that tools.training.train wrote'
        ) from error
    return config


def load_student(run: Path, keep_start: float = 0.0) -> tuple[DSFormer, Views]:
    """The averaged network of a run's folder and its views; VprError when there is none.

    `keep_start`: share of the exported start in each weight. A network that is taught on is better
    between both than at either end where data is scarce (Wortsman et al., CVPR 2022).
    """
    config = read_run(run)
    settings, folder = config['student'], config['views_folder']
    state = load_checkpoint(run / 'checkpoint.pt')
    steps = config['schedule']['steps']
    if state['step'] < steps:
        raise VprError(
            f'{run}: its training stopped at step {state["step"]} of {steps}; go on with it first'
        )
    network = DSFormer(checked(StudentConfig, settings, run / 'config.yaml'))
    try:
        network.load_state_dict(state['average'])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise VprError(
            f'{run}/checkpoint.pt: holds no network of the settings in config.yaml; train it anew'
        ) from error
    if keep_start:
        _mix(network, run, config.get('start'), keep_start)
    views = Views(folder)
    if not views.whole():
        raise VprError(
            f'{folder}: holds no views; start in the folder in which the training was started'
        )
    return network.eval(), views


@torch.no_grad()
def _mix(network: DSFormer, run: Path, start: str | None, share: float) -> None:
    """Each weight becomes `share` of the start's and the rest of its own."""
    if not str(start).endswith('.onnx'):
        raise VprError(f'{run}: did not start from an exported student; leave --keep-start out')
    first = DSFormer(network.config)
    first.load_exported(Path(start))
    for ours, theirs in zip(network.parameters(), first.parameters(), strict=True):
        ours.lerp_(theirs, share)


def metadata_of(network: DSFormer, name: str) -> dict[str, str]:
    """What the model file tells of itself, the confidence apart."""
    size = network.config.image_size
    preprocessing = {'size': [size, size], 'mean': [0.0] * 3, 'std': [1.0] * 3}
    metadata = {
        'name': name,
        'licence': 'Apache-2.0',
        PREPROCESSING_KEY: json.dumps({**preprocessing, 'colour_order': 'RGB', 'resize': 'area'}),
    }
    if network.local:
        metadata[LOCAL] = json.dumps({'grid': [network.local.side] * 2})
    return metadata


def write_onnx(network: DSFormer, path: Path, metadata: dict[str, str]) -> None:
    """Fixed image size, free batch axis, input `image`.

    Outputs: `descriptor` (B, D), `local` (B, P, L) where the network has local features, and for
    pictures `salient0` to `salientN` (B, K, h, w), the maps of each level, which are computed
    anyway.
    """
    size = network.config.image_size
    local = [LOCAL] if network.local else []
    outputs = ['descriptor', *local, *(f'salient{i}' for i in range(len(network.heads)))]
    with (
        write_errors(path, 'the model'),
        whole_file(path) as draft,
        warnings.catch_warnings(),
    ):
        # The exporter that torch calls legacy needs no further package and folds all shapes here.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, size, size), True),
            str(draft),
            input_names=['image'],
            output_names=outputs,
            dynamic_axes={name: {0: 'batch'} for name in ('image', *outputs)},
            opset_version=17,
            dynamo=False,
        )
        model = onnx.load(str(draft))
        _state_shapes(model, network)
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(draft))


def _state_shapes(model: onnx.ModelProto, network: DSFormer) -> None:
    """Shapes of the outputs in numbers, where the exporter leaves them open."""
    config = network.config
    shapes = {'descriptor': [config.combined if network.local else config.dimensions]}
    if network.local:
        shapes[LOCAL] = [network.local.side**2, config.local]
    for output in model.graph.output:
        for axis, size in enumerate(shapes.get(output.name, []), start=1):
            output.type.tensor_type.shape.dim[axis].dim_value = size


def check_parity(network: DSFormer, path: Path, jpegs: list[np.ndarray]) -> float:
    """Least cosine between torch and ONNX Runtime on real pictures; VprError below 0.9999."""
    embedder = Embedder(path)
    images = [cv2.imdecode(j, cv2.IMREAD_COLOR)[..., ::-1] for j in jpegs]
    (descriptors,) = describe_pictures(network, jpegs)
    ours = F.normalize(descriptors, dim=1).numpy()
    cosine = float((ours * embedder.embed_batch(images)).sum(1).min())
    if not cosine >= _LEAST_COSINE:  # NaN as well
        raise VprError(
            f'{path}: differs from torch, least cosine {cosine:.5f}; nothing is exported'
        )
    return cosine


def check_local(network: DSFormer, path: Path, jpegs: list[np.ndarray]) -> float:
    """Least cosine between ONNX Runtime's local features and numpy's; VprError below 0.99.

    ONNX Runtime's come as int8, as a map keeps them. The linear layer is done by numpy here.
    """
    embedder, least = Embedder(path), 1.0
    weight, bias = (x.detach().numpy() for x in network.local.project.parameters())
    (stacked,) = describe_pictures(network, jpegs, ('stacked',))
    for jpeg, rows in zip(jpegs, stacked.float().numpy(), strict=True):
        ours = _unit(rows @ weight.T + bias)
        picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]
        theirs = _unit(embedder.describe(picture).local.astype(np.float32))
        least = min(least, float((ours * theirs).sum(axis=1).min()))
    if not least >= _LEAST_LOCAL:  # NaN as well
        raise VprError(
            f'{path}: its local features differ from numpy, least cosine {least:.5f}; nothing is '
            'exported'
        )
    return least


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class Wanted:
    """What to export: `power` of the whitening; `levels`, `pixels`, `blocks` of each transformer
    level, 0: the run's own; `ranking`: steps in which local features learn to rank, 0: none;
    `keep_start`: see `load_student`."""

    power: float = POWER
    levels: int = 0
    pixels: int = 0
    blocks: int = 0
    ranking: int = 2000
    keep_start: float = 0.0


def export(run: Path, data: Path, out: Path, wanted: Wanted) -> dict[str, float]:
    """Write the model; returns what was measured on the way."""
    check_model_output(out)
    if not data.is_dir():
        raise VprError(f'{data}: no such folder; name the one with the training sets')
    network, views = load_student(run, wanted.keep_start)
    sources = read_sources(read_run(run)['sources'], run / 'config.yaml')
    if wanted.levels or wanted.pixels or wanted.blocks:
        levels, pixels = len(network.heads), network.config.image_size
        most = max(network.config.vit_depths, default=0)
        if wanted.blocks > most:
            raise VprError(f'--blocks {wanted.blocks}: {run} has {most} in a level; name fewer')
        network = network.smaller(wanted.levels or levels, wanted.pixels or pixels, wanted.blocks)
    measured = _ranked(network, views, run, wanted.ranking) if network.local else {}
    finish(network, views, power=wanted.power)
    example = torch.zeros(1, 3, *[network.config.image_size] * 2)
    measured |= zip(('M parameters', 'GMAC'), count_operations(network, example), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        write_onnx(network, draft, metadata_of(network, out.stem))
        jpegs = [views.jpegs[row] for row in some_of_whole(views, 64)][:64]
        measured['least cosine'] = check_parity(network, draft, jpegs)
        if network.local:
            measured['least cosine of local'] = check_local(network, draft, jpegs[:16])
        fitted = calibrate(draft, data, sources)
        Embedder(draft)  # refuses what a robot would refuse
        with write_errors(out, 'the model'):
            write_bytes(out, draft.read_bytes())
    if not fitted:
        print(
            f'{data}: has no set with `positives` in {run}/config.yaml; the confidence is not '
            'fitted'
        )
    return measured | fitted


def _ranked(network: DSFormer, views: Views, run: Path, steps: int) -> dict[str, float]:
    """Teach the local features to rank candidates of the finished descriptor."""
    settings = read_run(run)
    sources = read_sources(settings['sources'], run / 'config.yaml')
    if not steps or not sources:
        return {}
    places = without_held_back(read_places(sources), sources, settings.get('held_back') or {})
    finish(network, views, _FIRST_FIT)
    found = teach_ranking(network, views, places, steps)
    if found is None:
        print(f'{run}: its sources show no place twice; local features stay as they were trained')
        return {}
    return dict(zip(('Recall@1 of candidate lists before', 'after'), found, strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    wanted = Wanted()
    parser.add_argument(
        'run', type=Path, help="the student's folder that tools.training.train wrote"
    )
    parser.add_argument(
        '--data', type=Path, required=True, help='folder of training sets, each with an index.csv'
    )
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('models/ashtkd_student.onnx'),
        help='model file to write (default: %(default)s)',
    )
    parser.add_argument(
        '--power',
        type=share,
        default=wanted.power,
        help='power of the whitening, 0 to 1; 0: rotation only, 1: full whitening '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--keep-start',
        type=share,
        default=wanted.keep_start,
        help='share of the exported student that the training started from in each weight, 0 to 1 '
        '(default: %(default)s)',
    )
    for option, text in (
        ('--levels', 'number of levels to keep, the lowest ones; 0: all'),
        ('--pixels', 'width and height of the image in pixels; 0: those of the training'),
        ('--blocks', 'transformer blocks of a level to keep, the first ones; 0: all'),
        ('--ranking', 'steps in which local features learn to rank; 0: none'),
    ):
        text = f'{text} (default: %(default)s)'
        parser.add_argument(option, type=count, default=getattr(wanted, option[2:]), help=text)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    wanted = Wanted(**{name: getattr(args, name) for name in asdict(Wanted())})
    measured = export(args.run, args.data, args.out, wanted)
    print(f'{args.out}: ' + ', '.join(f'{k} {v:.5g}' for k, v in measured.items()))
    return 0


if __name__ == '__main__':
    run_command(main)
