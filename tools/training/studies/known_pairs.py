# SPDX-License-Identifier: Apache-2.0
"""Count the pairs of training pictures whose matching points are known, set by set.

Takes the places of a settings file, compares photographs of one place by SIFT, and rendered
pictures by depth and pose. What is found of photographs is kept in `pairs.npz` in the settings'
`views_folder`, and training takes it from there. The control is of pictures from different sets,
which share nothing.

example: python -m tools.training.studies.known_pairs --config config/train/student.yaml
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import count
from ashtkd_ros.cli.command import make_parser, run_command
from tools.training.config import read_config
from tools.training.data.checked_pairs import Pair
from tools.training.data.correspondence import Correspondence, SeenView
from tools.training.data.places import TrainingPlaces
from tools.training.data.scenes import known_scenes, pairs_of
from tools.training.data.sources import read_places
from tools.training.networks.shared_trunk import SIDE

CONTROL = 'control: different sets'


def pairs_by_set(places: TrainingPlaces, control: int) -> dict[str, list[Pair]]:
    """The pairs that are compared, by set; `control`: so many pairs of different sets as well."""
    paths = [str(picture.path) for picture in places.pictures]
    groups = defaultdict(list)
    for place in places.places:
        if len(place.pictures) > 1 and not place.still:
            groups[place.domain].append([paths[i] for i in place.pictures])
    pairs = {domain: sorted(set(pairs_of(of_set))) for domain, of_set in groups.items()}
    rng, domains = np.random.default_rng(0), [picture.domain for picture in places.pictures]
    drawn = rng.integers(len(paths), size=(20 * control, 2)).tolist()
    apart = [(paths[a], paths[b]) for a, b in drawn if domains[a] != domains[b]]
    return pairs | ({CONTROL: apart[:control]} if control else {})


def table(pairs: dict[str, Sequence[Pair]], scenes: Correspondence) -> str:
    """A row for each set: its pairs, those with known points, positions of 14 x 14 on average."""
    lines = [f'{"set":>26} {"pairs":>7} {"known":>7} {"positions":>9}']
    for name, of_set in pairs.items():
        shared = [len(_shared(scenes, pair)) for pair in of_set if scenes.knows(*pair)]
        shared = [n for n in shared if n]
        mean = f'{np.mean(shared):9.1f}' if shared else f'{"-":>9}'
        lines.append(f'{name:>26} {len(of_set):7d} {len(shared):7d} {mean}')
    return '\n'.join(lines)


def _shared(scenes: Correspondence, pair: Pair) -> np.ndarray:
    partners = scenes.partners_between(*(SeenView(path) for path in pair), SIDE, SIDE)
    return np.flatnonzero(partners >= 0)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--config',
        type=Path,
        default=Path('config/train/student.yaml'),
        help='settings file whose sources are read (default: %(default)s)',
    )
    parser.add_argument(
        '--control',
        type=count,
        default=1000,
        help='pairs of different sets to compare as well (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    config = read_config(args.config)
    pairs = pairs_by_set(read_places(config.sources), args.control)
    every = [list(pair) for of_set in pairs.values() for pair in of_set]
    config.views_folder.mkdir(parents=True, exist_ok=True)
    scenes = known_scenes(every, [], config.views_folder)
    print(table(pairs, scenes))
    return 0


if __name__ == '__main__':
    run_command(main)
