# SPDX-License-Identifier: Apache-2.0
"""The training loop that teachers and student share: batches, steps, average, checkpoints.

A step is a function of (settings, seed, step) alone, so a run that was killed ends as one that
was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from tools.training.config import Schedule
from tools.training.data.batch import Batch
from tools.training.networks.layers import NetworkOutput
from tools.training.networks.trunk import fast_bf16
from tools.training.objective import Objective
from tools.training.processes import gathered, is_first, own_share
from tools.training.run_folder import load_checkpoint, write_torch
from tools.training.run_results import GRADIENT, Curve

# Parameters of several dimensions that are not the weights of a layer: they do not decay.
_NOT_DECAYED = ('position', 'place', 'centres')
# Parts of a network that start in closed form and are trained along.
_LAYERS = ('project', 'local', 'combine')
_NORMS_EVERY = 100  # steps


class Run:
    """One network's training: optimiser, moving average, step; saved to and resumed from a file.

    `network.describe(inputs)` → NetworkOutput; `pretrained`: the parameters that start pretrained;
    `settings`: what a resumed run must have in common with this one, see `start_folder`.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        schedule: Schedule,
        folder: Path,
        pretrained: Sequence[nn.Parameter] = (),
        settings: dict | None = None,
    ):
        self.network, self.objective, self.schedule = network, objective, schedule
        self.folder, self.file, self.settings = folder, folder / 'checkpoint.pt', settings
        self.optimiser = torch.optim.AdamW(
            _groups(network, objective, schedule, {id(p) for p in pretrained})
        )
        if dist.is_initialized():
            for value in [*network.state_dict().values(), *objective.state_dict().values()]:
                dist.broadcast(value, 0)
        self.step = 0
        self.average = AveragedModel(network, avg_fn=self._averaged)
        self.average.n_averaged.fill_(1)  # the network at its start counts
        if self.file.exists():
            self._resume(load_checkpoint(self.file))

    def _resume(self, state: dict) -> None:
        self.step = state['step']
        try:
            self.network.load_state_dict(state['network'])
            self.average.module.load_state_dict(state['average'])
            self.objective.load_state_dict(state['objective'])
            if self.step < self.schedule.steps:
                self.optimiser.load_state_dict(state['optimiser'])
        except (RuntimeError, ValueError) as error:
            raise VprError(
                f'{self.file}: is of a run with other settings or of another version; give '
                f'another `out` folder or remove {self.folder}'
            ) from error

    def _averaged(self, average: torch.Tensor, value: torch.Tensor, _) -> torch.Tensor:
        """The exponential moving average, which follows faster in the first steps."""
        keep = min(self.schedule.average, self.step / (self.step + 10))
        return average.lerp(value, 1 - keep)

    def update(self, batch: Batch) -> dict[str, float]:
        """One step → the losses by name. VprError where one of them is not a number.

        In the first step and every hundredth, with the norm of each one's gradient in the network.
        """
        self._set_learning_rates()
        losses, outputs = self._losses(batch)
        total = sum(losses.values())
        norms = {} if self.step % _NORMS_EVERY else self.gradient_norms(losses)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        for p in self.network.parameters():
            if p.grad is not None:
                _sum_over_processes(p.grad)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0).item()
        if thrown_away := list(self.objective.parameters()):  # must not take the network's share
            nn.utils.clip_grad_norm_(thrown_away, 1.0)
        # Some losses are finite where descriptors are not: the gradients tell.
        if not math.isfinite(total.item() + norm + outputs.descriptor.sum().item()):
            self._refuse(losses, norm)
        self.optimiser.step()
        self.step += 1
        self.average.update_parameters(self.network)
        return {'loss': total.item(), **{k: v.item() for k, v in losses.items()}, **norms}

    def gradient_norms(self, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """`gradient NAME`: the norm of a loss' gradient in the network; the graph is kept."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        norms = {}
        for name, loss in losses.items():
            if not loss.requires_grad:
                continue
            parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            parts = [p for p in parts if p is not None]
            for part in parts:
                _sum_over_processes(part)
            squares = sum(float(p.float().square().sum()) for p in parts)
            norms[GRADIENT + name] = squares**0.5
        return norms

    def _set_learning_rates(self) -> None:
        """Linear warm-up, then half a cosine down to zero."""
        done = self.step / self.schedule.steps
        warm = min(1.0, (done + 1 / self.schedule.steps) / self.schedule.warm_up)
        for group in self.optimiser.param_groups:
            group['lr'] = group['peak'] * warm * 0.5 * (1 + math.cos(math.pi * done))

    def _losses(self, batch: Batch) -> tuple[dict[str, torch.Tensor], NetworkOutput]:
        """The losses of the whole batch, and what the network computed of this process's part."""
        device = next(self.network.parameters()).device
        self.network.train()
        inputs = batch.inputs.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device.type)):
            outputs = self.network.describe(inputs)
        return self.objective(gathered(outputs), batch), outputs

    def _refuse(self, losses: dict[str, torch.Tensor], norm: float) -> None:
        """VprError: the losses, the norm of the gradient, and where the last good state is."""
        named = ', '.join(f'{k} {v.item():.3g}' for k, v in losses.items())
        kept = 'there is no checkpoint yet'
        if self.file.exists():
            kept = f'{self.file} holds the last good state'
        raise VprError(
            f'step {self.step}: the loss is not a number ({named}, gradient {norm:.3g}); '
            f'{kept}; lower the learning rate or look at the data'
        )

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if not is_first():
            return
        state = {'network': self.network.state_dict()}
        state |= {'average': self.average.module.state_dict()}
        state |= {'objective': self.objective.state_dict(), 'step': self.step}
        state |= {'optimiser': self.optimiser.state_dict(), 'settings': self.settings}
        write_torch(self.file, state)


def _sum_over_processes(gradient: torch.Tensor) -> None:
    """Each process has the gradient through its own images."""
    if dist.is_initialized():
        dist.all_reduce(gradient)


def _groups(
    network: nn.Module, objective: Objective, schedule: Schedule, pretrained: set[int]
) -> list[dict]:
    """Parameters by learning rate, and by whether weights decay: norms, biases and scales do not.

    `pretrained`: ids of the parameters that start pretrained.
    """
    kinds: dict[tuple[float, bool], list[nn.Parameter]] = {}

    def add(name: str, p: nn.Parameter, rate: float) -> None:
        if p.requires_grad:
            decays = p.ndim > 1 and name.split('.')[-1] not in _NOT_DECAYED
            kinds.setdefault((rate, decays), []).append(p)

    for name, p in network.named_parameters():
        part = name.split('.')[0]
        rate = schedule.pretrained_rate if id(p) in pretrained else schedule.learning_rate
        if part == 'heads':
            rate = schedule.head_rate
        if part in _LAYERS:
            rate = schedule.layer_rate
        add(name, p, rate)
    for name, p in objective.named_parameters():
        add(name, p, schedule.head_rate)
    return [
        {
            'params': members,
            'peak': rate,
            'weight_decay': schedule.weight_decay if decays else 0.0,
        }
        for (rate, decays), members in kinds.items()
    ]


def _workers() -> int:
    """Processes that make images: enough for a GPU, and two beside a processor that learns."""
    if not torch.cuda.is_available():
        return 2
    cores = os.cpu_count() // int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(2, min(cores, 16) - 1)


def train(run: Run, data: Dataset, batches: list[list], workers: int | None = None) -> nn.Module:
    """All steps from where the run stands; returns the averaged network in eval mode.

    `data[entry]` → an input; `data.batch(inputs, entries)` → Batch; `batches`: the entries of
    every step.
    """
    workers = _workers() if workers is None else workers
    images = run.schedule.places * run.schedule.views
    loader = DataLoader(
        data,
        batch_sampler=[own_share(b) for b in batches[run.step :]],
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    with (
        Curve(run.folder / 'curve.csv', run.step) as curve,
        tqdm(
            total=run.schedule.steps * images,
            initial=run.step * images,
            unit='img',
            desc=run.folder.name,
            mininterval=5,
            disable=None if is_first() else True,
        ) as bar,
    ):
        started = time.monotonic() - curve.seconds
        for inputs, entries in zip(loader, batches[run.step :], strict=True):
            losses = run.update(data.batch(inputs, entries))
            bar.update(images)
            curve.add(run.step, losses, time.monotonic() - started)
            if run.step % run.schedule.checkpoint_steps == 0 or run.step == run.schedule.steps:
                curve.flush()  # first: what it has beyond a checkpoint is cut
                run.save()
    run.network.load_state_dict(run.average.module.state_dict())
    return run.network.eval()
