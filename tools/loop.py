# SPDX-License-Identifier: Apache-2.0
"""The training loop that teachers and student share: batches, steps, checkpoints, curve.

A step is a function of (settings, seed, step) alone, so a run that was killed ends as one that
was not. Under torchrun every process computes its share of the images; descriptors, sums and maps
are gathered and each process computes the loss of the whole batch, as one process alone would.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from tools.config import Schedule
from tools.layers import Described
from tools.objective import Objective
from tools.trunk import fast_bf16


class _Gather(torch.autograd.Function):
    """All processes' rows in order; backward keeps this process's own."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gathered(described: Described) -> Described:
    """What all processes described, or the same where there is only one."""
    if not dist.is_initialized():
        return described
    return Described(
        _Gather.apply(described.descriptor),
        [_Gather.apply(s) for s in described.sums],
        [_Gather.apply(m) for m in described.maps],
    )


def own_share(entries: list) -> list:
    """The part of a batch that this process computes."""
    if not dist.is_initialized():
        return entries
    count, rank = dist.get_world_size(), dist.get_rank()
    if len(entries) % count:
        raise VprError(f'{len(entries)} images a step do not divide by {count} processes')
    size = len(entries) // count
    return entries[rank * size : (rank + 1) * size]


def is_first() -> bool:
    """Whether this process writes files and talks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait_for_all() -> None:
    """Return when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """The first process goes through, then the others: what it made on disk is there for them."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


class Run:
    """One network's training: optimiser, moving average, step; saved to and resumed from a file.

    `network.describe(inputs)` → Described; `old`: parameters that start pretrained.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        schedule: Schedule,
        folder: Path,
        old: list[nn.Parameter] = (),
    ):
        self.network, self.objective, self.schedule = network, objective, schedule
        self.folder, self.file = folder, folder / 'checkpoint.pt'
        ids = {id(p) for p in old}
        new = [p for p in network.parameters() if id(p) not in ids and p.requires_grad]
        new += list(objective.parameters())
        old = [p for p in old if p.requires_grad]
        groups = [{'params': new, 'peak': schedule.learning_rate}]
        groups += [{'params': old, 'peak': schedule.pretrained_rate}] if old else []
        self.optimiser = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
        if dist.is_initialized():
            for value in [*network.state_dict().values(), *objective.state_dict().values()]:
                dist.broadcast(value, 0)
        self.average = {k: v.clone() for k, v in network.state_dict().items()}
        self.step = 0
        if self.file.exists():
            self._resume(load_checkpoint(self.file))

    def _resume(self, state: dict) -> None:
        try:
            self.network.load_state_dict(state['network'])
            self.objective.load_state_dict(state['objective'])
            self.optimiser.load_state_dict(state['optimiser'])
        except (RuntimeError, ValueError) as error:
            raise VprError(
                f'{self.file}: of a run with other settings; give another folder'
            ) from error
        self.average, self.step = state['average'], state['step']

    def update(self, inputs: torch.Tensor, taught, places, query) -> dict[str, float]:
        """One step of a lesson (lectures.Lesson) → losses. VprError when one is not a number."""
        schedule, device = self.schedule, next(self.network.parameters()).device
        done = self.step / schedule.steps
        warm = min(1.0, (done + 1 / schedule.steps) / schedule.warm_up)
        for group in self.optimiser.param_groups:
            group['lr'] = group['peak'] * warm * 0.5 * (1 + math.cos(math.pi * done))
        self.network.train()
        inputs = inputs.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device.type)):
            described = self.network.describe(inputs)
        places, query = places.to(device), query.to(device)
        losses = self.objective(gathered(described), taught, places, query)
        total = sum(losses.values())
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if dist.is_initialized():  # each process has the gradient through its own images
            for p in self.network.parameters():
                if p.grad is not None:
                    dist.all_reduce(p.grad)
        parameters = [p for group in self.optimiser.param_groups for p in group['params']]
        length = nn.utils.clip_grad_norm_(parameters, 1.0).item()
        # Some losses are numbers where descriptors are none: the gradients tell.
        if not math.isfinite(total.item() + length + described.descriptor.sum().item()):
            named = ', '.join(f'{k} {v.item():.3g}' for k, v in losses.items())
            raise VprError(
                f'step {self.step}: the loss is not a number ({named}, gradient {length:.3g}); '
                f'{self.file} holds the last good state; lower the learning rate or look at the '
                'data'
            )
        self.optimiser.step()
        self.step += 1
        keep = min(schedule.average, self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)
        return {'loss': total.item(), **{k: v.item() for k, v in losses.items()}}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if not is_first():
            return
        state = {'network': self.network.state_dict(), 'average': self.average}
        state |= {'objective': self.objective.state_dict(), 'step': self.step}
        state |= {'optimiser': self.optimiser.state_dict()}
        temporary = self.file.with_suffix('.tmp')
        torch.save(state, temporary)
        temporary.replace(self.file)


def load_checkpoint(path: Path) -> dict:
    """What `Run.save` wrote; VprError where the file is none."""
    try:
        state = torch.load(path, weights_only=True)
        _ = state['network'], state['optimiser'], state['average'], state['step']
    except Exception as error:  # torch's loader raises many kinds
        raise VprError(f'{path}: not a checkpoint of tools.train; remove it') from error
    return state


def start_folder(folder: Path, settings: dict) -> None:
    """The run's folder with its settings, seed and git revision."""
    folder.mkdir(parents=True, exist_ok=True)
    if not is_first():
        return
    revision = subprocess.run(
        ['git', 'describe', '--always', '--dirty'], capture_output=True, text=True, check=False
    )
    settings = {**settings, 'revision': revision.stdout.strip() or 'unknown'}
    (folder / 'config.yaml').write_text(yaml.safe_dump(settings, sort_keys=False))


def train(run: Run, data: Dataset, batches: list[list], workers: int = 2) -> nn.Module:
    """All steps from where the run stands; returns the averaged network in eval mode.

    `data[entry]` → an input; `data.lesson(inputs, batch)` → lectures.Lesson; `batches`: the
    entries of every step.
    """
    steps, batches = run.schedule.steps, batches[run.step :]
    loader = DataLoader(
        data,
        batch_sampler=[own_share(b) for b in batches],
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    started = time.monotonic()
    with Curve(run.folder / 'curve.csv', run.step) as curve:
        bar = tqdm(
            total=steps,
            initial=run.step,
            desc=run.folder.name,
            mininterval=5,
            disable=None if is_first() else True,
        )
        for inputs, batch in zip(loader, batches, strict=True):
            losses = run.update(*data.lesson(inputs, batch))
            bar.update()
            curve.add(run.step, losses, time.monotonic() - started)
            if run.step % run.schedule.checkpoint_steps == 0 or run.step == steps:
                run.save()
                curve.flush()
    run.network.load_state_dict(run.average)
    return run.network.eval()


class Curve:
    """curve.csv: step, seconds, losses; what a killed run wrote after its checkpoint is cut."""

    def __init__(self, path: Path, step: int):
        self.path, self.rows = path, []
        if path.exists() and step:
            with path.open(newline='') as file:
                self.rows = [r for r in csv.DictReader(file) if int(r['step']) <= step]

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    def add(self, step: int, losses: dict[str, float], seconds: float) -> None:
        """Note one step."""
        values = {name: f'{value:.6g}' for name, value in losses.items()}
        self.rows.append({'step': step, 'seconds': f'{seconds:.1f}', **values})

    def flush(self) -> None:
        """Write the whole curve."""
        if not self.rows or not is_first():
            return
        temporary = self.path.with_suffix('.tmp')
        with temporary.open('w', newline='') as file:
            writer = csv.DictWriter(file, list(self.rows[-1]), restval='')
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.path)


def write_results(folder: Path, **results) -> None:
    """results.json of a run."""
    if is_first():
        (folder / 'results.json').write_text(json.dumps(results, indent=2))


def join_processes() -> None:
    """Under torchrun: gloo on processors, nccl on GPUs."""
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        dist.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
