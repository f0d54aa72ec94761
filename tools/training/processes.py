# SPDX-License-Identifier: Apache-2.0
"""Several processes under torchrun that train one network.

Every process computes its share of the images; all outputs are gathered and each process computes
the loss of the whole batch, as one process alone would.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from ashtkd_ros.errors import VprError
from tools.training.networks.layers import NetworkOutput


def join_processes() -> None:
    """Join the other processes of torchrun: by gloo on processors, by nccl on GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        backend = 'nccl' if torch.cuda.is_available() else 'gloo'
        # The first process makes all views alone, which takes hours where there are many.
        dist.init_process_group(backend, timeout=timedelta(days=1))


class _Gather(torch.autograd.Function):
    """The rows of all processes in order; backward keeps the gradient of this process's rows."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ctx.rows, x = len(x), x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gathered(outputs: NetworkOutput) -> NetworkOutput:
    """The outputs of all processes, in order; of a single process its own."""
    if not dist.is_initialized():
        return outputs
    parts = (_Gather.apply(x) if isinstance(x, torch.Tensor) else x for x in outputs)
    return NetworkOutput(*([*map(_Gather.apply, x)] if isinstance(x, list) else x for x in parts))


def own_share(entries: list) -> list:
    """The part of a batch that this process computes."""
    if not dist.is_initialized():
        return entries
    count, rank = dist.get_world_size(), dist.get_rank()
    if len(entries) % count:
        raise VprError(
            f'{len(entries)} images a step cannot be shared among {count} processes; change '
            '`places` or `views`'
        )
    size = len(entries) // count
    return entries[rank * size : (rank + 1) * size]


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if dist.is_initialized():
        dist.barrier()


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """The first process goes first, then the others, which find on disk what it made."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()
