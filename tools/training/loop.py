# SPDX-License-Identifier: Apache-2.0
"""The training loop that teachers and student share: batches, steps, checkpoints, curve.

A step is a function of (settings, seed, step) alone, so a run that was killed ends as one that
was not.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file, write_text
from tools.training.config import Schedule
from tools.training.losses.objective import Objective
from tools.training.networks.trunk import fast_bf16
from tools.training.processes import gathered, is_first, own_share

# Parameters of several dimensions that are no weights of a layer: not to be drawn to zero.
_NOT_DECAYED = ('position', 'place')
# Settings that do not change what is learned, and those that are paths.
_ASIDE = ('out', 'views_folder', 'revision', 'checkpoint_steps')
_PATHS = ('path', 'paths', 'images', 'trunk', 'start')


class Run:
    """One network's training: optimiser, moving average, step; saved to and resumed from a file.

    `network.describe(inputs)` → Described; `old`: parameters that start pretrained; `settings`:
    what a resumed run must have in common with this one, see `start_folder`.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        schedule: Schedule,
        folder: Path,
        old: list[nn.Parameter] = (),
        settings: dict | None = None,
    ):
        self.network, self.objective, self.schedule = network, objective, schedule
        self.folder, self.file, self.settings = folder, folder / 'checkpoint.pt', settings
        self.optimiser = torch.optim.AdamW(
            _groups(network, objective, schedule, {id(p) for p in old})
        )
        if dist.is_initialized():
            for value in [*network.state_dict().values(), *objective.state_dict().values()]:
                dist.broadcast(value, 0)
        self.average = {k: v.clone() for k, v in network.state_dict().items()}
        self.step = 0
        if self.file.exists():
            self._resume(load_checkpoint(self.file))

    def _resume(self, state: dict) -> None:
        self.step = state['step']
        try:
            self.network.load_state_dict(state['network'])
            self.objective.load_state_dict(state['objective'])
            if self.step < self.schedule.steps:
                self.optimiser.load_state_dict(state['optimiser'])
        except (RuntimeError, ValueError) as error:
            raise VprError(
                f'{self.file}: of a run with other settings or of another version; give another '
                f'`out` folder or remove {self.folder}'
            ) from error
        self.average = {k: state['average'][k].to(v.device) for k, v in self.average.items()}

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
            there = self.file.exists()
            kept = f'{self.file} holds the last good state' if there else 'no checkpoint yet'
            raise VprError(
                f'step {self.step}: the loss is not a number ({named}, gradient {length:.3g}); '
                f'{kept}; lower the learning rate or look at the data'
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
        state |= {'optimiser': self.optimiser.state_dict(), 'settings': self.settings}
        write_torch(self.file, state)


def write_torch(path: Path, state: dict) -> None:
    """Write what `torch.load` reads, whole or not at all; equal states give equal bytes."""
    # By its name torch would name the entries within the file, and a draft's name is random.
    with whole_file(path, follow_links=False) as draft, draft.open('wb') as file:
        torch.save(state, file)


def _groups(
    network: nn.Module, objective: Objective, schedule: Schedule, old: set[int]
) -> list[dict]:
    """Parameters by learning rate, and by whether weights decay: norms, biases and scales do not.

    `old`: ids of those that start pretrained.
    """
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in [*network.named_parameters(), *objective.named_parameters()]:
        if p.requires_grad:
            decays = p.ndim > 1 and name.split('.')[-1] not in _NOT_DECAYED
            kinds.setdefault((id(p) in old, decays), []).append(p)
    rates = {False: schedule.learning_rate, True: schedule.pretrained_rate}
    return [
        {
            'params': members,
            'peak': rates[pretrained],
            'weight_decay': schedule.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), members in kinds.items()
    ]


def load_checkpoint(path: Path) -> dict:
    """What `Run.save` wrote, on the processor; VprError that says why where that fails."""
    try:
        state = torch.load(path, weights_only=True, map_location='cpu')
        _ = state['network'], state['optimiser'], state['average'], state['step']
    except Exception as error:  # torch's loader raises many kinds
        raise VprError(
            f'{path}: not a checkpoint of tools.training.train that can be read '
            f'({first_line(error)}); give another `out` folder'
        ) from error
    return state


def first_line(error: Exception) -> str:
    """What an error is, in short."""
    return f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0][:120]


def make_folder(folder: Path) -> None:
    """A folder to write to; VprError where there can be none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VprError(
            f'{folder}: cannot be made ({error.strerror}); give another `out` folder'
        ) from error


def start_folder(folder: Path, settings: dict) -> None:
    """The run's folder with its settings, seed and git revision.

    VprError where it holds a checkpoint of other settings.
    """
    make_folder(folder)
    if not is_first():
        return
    if (folder / 'checkpoint.pt').exists():
        kept = load_checkpoint(folder / 'checkpoint.pt').get('settings')
        check_settings(folder, settings, kept)
    settings = {**settings, 'revision': _revision()}
    write_text(folder / 'config.yaml', yaml.safe_dump(settings, sort_keys=False))


def check_settings(folder: Path, settings: dict, kept: dict | None = None) -> None:
    """VprError where a folder's run was of other settings than these.

    `kept`: those of its checkpoint; by default its config.yaml, where there is one.
    """
    if kept is None:
        try:
            kept = yaml.safe_load((folder / 'config.yaml').read_text())
        except (OSError, yaml.YAMLError):
            return
    if not isinstance(kept, dict):
        return
    other = _first_difference(_comparable(kept), _comparable(settings))
    if other is not None:
        key, before, now = other
        several = isinstance(before, list | dict) or isinstance(now, list | dict)
        values = '' if several else f' ({before!r:.40}, now {now!r:.40})'
        raise VprError(
            f'{folder}: its run has another {key}{values}; give another `out` folder or remove '
            f'{folder}'
        )


def _comparable(value: Any, key: str = '') -> Any:
    """Settings without what does not change a result, paths from here, teachers by name."""
    if isinstance(value, dict):
        return {k: _comparable(v, k) for k, v in value.items() if k not in _ASIDE}
    if isinstance(value, (list, tuple)):
        if key == 'teachers' and value and isinstance(value[0], dict):
            return {t['name']: _comparable(t) for t in value}
        return [_comparable(v, key) for v in value]
    return os.path.relpath(value) if key in _PATHS and isinstance(value, str) else value


def _first_difference(kept: Any, now: Any, key: str = '') -> tuple[str, Any, Any] | None:
    """Where two settings differ first, and how.

    A key that only one has is of another version, or a teacher that the lesson does not name; a
    source's keys are the user's own.
    """
    if isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        kept, now = dict(enumerate(kept)), dict(enumerate(now))
    if not isinstance(kept, dict) or not isinstance(now, dict):
        return (key, kept, now) if kept != now else None
    strict = key.split('.')[0] in ('sources', 'data')
    for name in {**now, **kept}:
        if strict or (name in kept and name in now):
            inner = f'{key}.{name}'.strip('.')
            other = _first_difference(kept.get(name), now.get(name), inner)
            if other is not None:
                return other
    return None


def _revision() -> str:
    """Git's name for the state of this code."""
    command = ['git', 'describe', '--always', '--dirty']
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return 'unknown'
    return done.stdout.strip() or 'unknown'


def _workers() -> int:
    """Processes that make images: enough for a GPU, and two beside a processor that learns."""
    if not torch.cuda.is_available():
        return 2
    cores = os.cpu_count() // int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(2, min(cores, 16) - 1)


def train(run: Run, data: Dataset, batches: list[list], workers: int | None = None) -> nn.Module:
    """All steps from where the run stands; returns the averaged network in eval mode.

    `data[entry]` → an input; `data.lesson(inputs, batch)` → lectures.Lesson; `batches`: the
    entries of every step.
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
        for inputs, batch in zip(loader, batches[run.step :], strict=True):
            losses = run.update(*data.lesson(inputs, batch))
            bar.update(images)
            curve.add(run.step, losses, time.monotonic() - started)
            if run.step % run.schedule.checkpoint_steps == 0 or run.step == run.schedule.steps:
                curve.flush()  # first: what it has beyond a checkpoint is cut
                run.save()
    run.network.load_state_dict(run.average)
    return run.network.eval()


class Curve:
    """curve.csv: step, seconds, losses; what a killed run wrote after its checkpoint is cut."""

    def __init__(self, path: Path, step: int):
        self.path, self.rows = path, []
        if path.exists() and step:
            with path.open(newline='') as file:
                self.rows = [r for r in csv.DictReader(file) if int(r['step']) <= step]

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return float(self.rows[-1]['seconds']) if self.rows else 0.0

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
        with (
            whole_file(self.path, follow_links=False) as draft,
            draft.open('w', newline='') as file,
        ):
            writer = csv.DictWriter(file, list(self.rows[-1]), restval='')
            writer.writeheader()
            writer.writerows(self.rows)


def write_results(folder: Path, schedule: Schedule, parameters: float, macs: float) -> None:
    """results.json of a run: millions of parameters, billions of multiply-adds, time, losses.

    Losses are means over the last 50 steps.
    """
    if not is_first():
        return
    curve = Curve(folder / 'curve.csv', schedule.steps)
    results = {'parameters_m': parameters, 'gmac': macs, 'seconds': curve.seconds}
    if curve.seconds:
        images = schedule.steps * schedule.places * schedule.views
        results['images_per_s'] = round(images / curve.seconds, 1)
        last = curve.rows[-50:]
        names = [name for name in last[-1] if name not in ('step', 'seconds')]
        mean = {n: sum(float(row[n]) for row in last) / len(last) for n in names}
        results['losses'] = {n: float(f'{value:.4g}') for n, value in mean.items()}
    write_text(folder / 'results.json', json.dumps(results, indent=2) + '\n')
