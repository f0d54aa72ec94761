# SPDX-License-Identifier: Apache-2.0
"""Teach the student the descriptors of one frozen teacher.

    python -m tools.distill runs/views --start ../shared/teachers/mobilenetv2_trainable.npz

Feature-level guidance at the descriptor (method step 4 with one teacher): L = 1 - cos(s_i, t_i),
t_i the teacher's whitened descriptor of the clean view, s_i the student's of the same view
degraded afresh at every step. The run's folder holds the settings, a curve and the checkpoint;
the same command goes on where an interrupted run stopped.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ashtkd_ros.commands import run_command
from ashtkd_ros.errors import VprError
from tools.augment import degrade
from tools.student import DSFormer, StudentConfig, count
from tools.teacher import Whitening
from tools.views import Views, load_views


@dataclass(frozen=True)
class DistillConfig:
    """`epochs`: passes over all views; learning rates for new and for pretrained layers."""

    epochs: int = 8
    batch: int = 32
    learning_rate: float = 7e-4
    pretrained_rate: float = 2e-4
    weight_decay: float = 0.02
    warm_up: float = 0.03
    clean_share: float = 0.25
    average: float = 0.999
    train_stem: bool = False
    seed: int = 0
    checkpoint_steps: int = 200


class DegradedViews(Dataset):
    """Item (epoch, i) → float32 (3, S, S) RGB in [0, 1] and float32 target (D,), by seed."""

    def __init__(self, views: Views, targets: torch.Tensor, config: DistillConfig):
        self.views, self.targets, self.config = views, targets, config

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, i = key
        cv2.setNumThreads(0)
        image = cv2.imdecode(self.views.jpegs[i], cv2.IMREAD_COLOR)[..., ::-1]
        rng = np.random.default_rng((self.config.seed, epoch, i))
        if rng.random() >= self.config.clean_share:
            image = degrade(image, rng)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return pixels.float() / 255, self.targets[i]


def batches(count: int, config: DistillConfig, first_step: int):
    """Batches of (epoch, i) from `first_step` on: every view once an epoch, shuffled by seed."""
    per_epoch = count // config.batch
    for step in range(first_step, per_epoch * config.epochs):
        epoch, at = divmod(step, per_epoch)
        if at == 0 or step == first_step:
            order = np.random.default_rng((config.seed, epoch)).permutation(count)
        yield [(epoch, int(i)) for i in order[at * config.batch : (at + 1) * config.batch]]


def load_checkpoint(path: Path) -> dict:
    """What `Run.save` wrote; VprError where the file is none."""
    try:
        state = torch.load(path, weights_only=True)
        _ = state['network'], state['optimiser'], state['average'], state['step']
    except Exception as error:  # torch's loader raises many kinds
        raise VprError(f'{path}: not a checkpoint of tools.distill; remove it') from error
    return state


class Run:
    """Network, its moving average, optimiser and step; saved to and resumed from one file."""

    def __init__(self, network: DSFormer, config: DistillConfig, steps: int, folder: Path):
        self.network, self.config, self.steps, self.folder = network, config, steps, folder
        network.stem.requires_grad_(config.train_stem)
        old = [*network.stem.parameters(), *network.levels[0].parameters()]
        ids = {id(p) for p in old}
        new = [p for p in network.parameters() if id(p) not in ids]
        old = [p for p in old if p.requires_grad]
        groups = [{'params': new, 'peak': config.learning_rate}]
        groups += [{'params': old, 'peak': config.pretrained_rate}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        self.average = {k: v.clone() for k, v in network.state_dict().items()}
        self.step = 0
        self.file = folder / 'checkpoint.pt'
        if self.file.exists():
            state = load_checkpoint(self.file)
            try:
                network.load_state_dict(state['network'])
                self.optimiser.load_state_dict(state['optimiser'])
            except (RuntimeError, ValueError) as error:
                raise VprError(
                    f'{self.file}: of a run with other settings; give another folder'
                ) from error
            self.average, self.step = state['average'], state['step']

    def update(self, images: torch.Tensor, targets: torch.Tensor) -> float:
        """One step; returns the loss. VprError when the loss is not a number."""
        done = self.step / self.steps
        warm = min(1.0, done / self.config.warm_up)
        for group in self.optimiser.param_groups:
            group['lr'] = group['peak'] * warm * 0.5 * (1 + math.cos(math.pi * done))
        self.network.train()
        device = next(self.network.parameters()).device
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            descriptors, _ = self.network.describe(images)
        loss = (1 - F.cosine_similarity(descriptors.float(), targets.to(device))).mean()
        if not math.isfinite(loss.item()):
            raise VprError(f'step {self.step}: the loss is {loss.item()}; {self.file} is kept')
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(self.config.average, self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - keep) if value.is_floating_point() else None
        return loss.item()

    def save(self) -> None:
        state = {'network': self.network.state_dict(), 'average': self.average}
        state |= {'optimiser': self.optimiser.state_dict(), 'step': self.step}
        temporary = self.file.with_suffix('.tmp')
        torch.save(state, temporary)
        temporary.replace(self.file)


def distill(
    views: Views, start: Path | None, folder: Path, config: DistillConfig, student: StudentConfig
) -> DSFormer:
    """Train and return the averaged student; checkpoints, settings and curve go to `folder`."""
    torch.manual_seed(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    whole = torch.from_numpy(views.teacher[views.whole])
    targets = Whitening(whole, student.dimensions)(torch.from_numpy(views.teacher))
    network = DSFormer(student)
    if start is not None:
        network.load_mobilenetv2(start)
    steps = len(targets) // config.batch * config.epochs
    if not steps:
        raise VprError(f'{len(targets)} views are less than one batch of {config.batch}')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    run = Run(network.to(device, memory_format=torch.channels_last), config, steps, folder)
    settings = {'distill': asdict(config), 'student': asdict(student), 'views': len(targets)}
    (folder / 'config.yaml').write_text(yaml.safe_dump(settings, sort_keys=False))
    loader = DataLoader(
        DegradedViews(views, targets, config),
        batch_sampler=list(batches(len(targets), config, run.step)),
        num_workers=2,
        prefetch_factor=4,
    )
    with (folder / 'curve.csv').open('a', newline='') as file:
        curve, seconds = csv.writer(file), time.monotonic()
        bar = tqdm(loader, initial=run.step, total=steps, desc='distil', mininterval=5)
        for images, targets_of in bar:
            loss = run.update(images, targets_of)
            if run.step % 20 == 0:
                bar.set_postfix(loss=f'{loss:.4f}', refresh=False)
                curve.writerow([run.step, f'{loss:.5f}', f'{time.monotonic() - seconds:.1f}'])
            if run.step % config.checkpoint_steps == 0 or run.step == steps:
                run.save()
                file.flush()
    network.load_state_dict(run.average)
    return network.eval().cpu()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('views', type=Path, help='folder made by tools.views')
    parser.add_argument('--start', type=Path, help='pretrained MobileNetV2 (.npz)')
    parser.add_argument('-o', '--out', type=Path, default=Path('runs/student'))
    parser.add_argument('--epochs', type=int, default=DistillConfig.epochs)
    parser.add_argument('--train-stem', action='store_true', help='train the lowest blocks too')
    parser.add_argument('--seed', type=int, default=DistillConfig.seed)
    args = parser.parse_args(argv)
    config = DistillConfig(epochs=args.epochs, train_stem=args.train_stem, seed=args.seed)
    network = distill(load_views(args.views), args.start, args.out, config, StudentConfig())
    parameters, macs = count(network)
    print(f'{args.out}: {parameters:.2f} M parameters, {macs:.3f} GMAC an image')
    return 0


if __name__ == '__main__':
    run_command(main)
