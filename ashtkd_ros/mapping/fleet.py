# SPDX-License-Identifier: Apache-2.0
"""Workers of Ray, on this machine or a cluster, that build the parts of a map.

The only file that imports Ray, and only when workers are asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.cli.terminal import is_debugging
from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.build import Builder
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.parts import Built, Part, build_in_parts, build_part
from ashtkd_ros.text import counted, one_line

_ADDRESS = re.compile(r'(?P<host>[^\s/@]+):(?P<port>[0-9]{1,5})')
_CONNECT_S, _ANSWER_S = 5.0, 30.0
_RETRIES = 3  # of a traverse whose worker died
_OBJECTS = 100 * 2**20  # bytes of shared memory; only short messages go through it
# Joins a cluster and leaves it again: what Ray does where none answers takes minutes.
_PROBE = """
import logging, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
"""


def fleet(workers: int, address: str = '') -> Callable[[Builder, Journal], None]:
    """What `build_map` takes as `add_places`: workers build the traverses beside each other.

    `workers`: how many; 0: as many as the cluster has cores. `address`: HOST:PORT of a running Ray
    cluster; empty: workers on this machine, which end with the build. VprError where Ray is not
    installed or no cluster answers.
    """
    if not address:  # nobody else may send work to the processes of this build
        os.environ.setdefault('RAY_AUTH_MODE', 'token')
        os.environ.setdefault('RAY_AUTH_TOKEN', secrets.token_hex(32))
    ray = _load()
    if address:
        _check_address(address)
    return partial(_add_places, ray, workers, address)


def _load() -> ModuleType:
    """Ray, which sends no statistics and prints nothing; VprError where it is not installed."""
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    os.environ.setdefault('RAY_task_oom_retries', str(_RETRIES))
    os.environ.setdefault('RAY_worker_niceness', '0')  # the priority of this process
    try:
        import ray
    except ImportError as error:
        raise VprError(
            f'--workers and --ray-address need Ray ({one_line(str(error))}): '
            'pip install ray, or in a checkout pip install ".[fleet]"'
        ) from error
    return ray


def _check_address(address: str) -> None:
    """VprError, in bounded time, where no cluster can be joined at this address."""
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found['port']) < 2**16:
        raise VprError(
            f'--ray-address {address}: is not HOST:PORT; write it as in 192.168.0.10:6379'
        )
    start = (
        f'start one with "ray start --head", and join it here with "ray start --address={address}"'
    )
    where = found['host'].strip('[]'), int(found['port'])
    try:
        socket.create_connection(where, _CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        reason = one_line(getattr(error, 'strerror', None) or str(error))
        raise VprError(f'--ray-address {address}: nothing answers ({reason}); {start}') from error
    if why := _probed(address):
        raise VprError(f'--ray-address {address}: no Ray cluster answers ({why}); {start}')


def _probed(address: str) -> str:
    """Why a process of its own cannot join a cluster; empty if it can."""
    with child_process('Ray', [sys.executable, '-c', _PROBE, address]) as child:
        try:
            if child.process.wait(_ANSWER_S) == 0:
                return ''
            why = str(child.failure())
        except subprocess.TimeoutExpired:
            why = f'no answer in {_ANSWER_S:g} s'
        if any('AuthToken' in line for line in child.lines()):
            return 'it has another token; set RAY_AUTH_MODE and RAY_AUTH_TOKEN as it has them'
        return why


def _add_places(
    ray: ModuleType, workers: int, address: str, builder: Builder, journal: Journal
) -> None:
    """As `Builder.run`."""
    with _joined(ray, workers, address):
        if not ray.cluster_resources().get('CPU', 0) >= 1:
            raise VprError(
                f'--ray-address {address}: the cluster has no core for a worker; '
                'start Ray with more CPUs'
            )
        build_in_parts(builder, journal, partial(_work, ray, workers))


@contextlib.contextmanager
def _joined(ray: ModuleType, workers: int, address: str) -> Iterator[None]:
    """While the body runs, Ray is there; it then ends, with all its processes on this machine."""
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {'address': address, 'log_to_driver': is_debugging()}
        if not is_debugging():  # of what goes wrong our errors tell; Ray prints on stdout
            options['logging_level'] = logging.CRITICAL
            nowhere = stack.enter_context(open(os.devnull, 'w'))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if not address:
            folder = tempfile.TemporaryDirectory(
                prefix='ashtkd_ray_', dir='/tmp', ignore_cleanup_errors=True
            )
            options |= {'address': 'local', 'num_cpus': workers, 'include_dashboard': False}
            options |= {'object_store_memory': _OBJECTS, '_temp_dir': stack.enter_context(folder)}
        stack.callback(ray.shutdown)
        try:
            with _handler_kept():
                ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:
            raise VprError(f'Ray does not start ({one_line(str(error))[:300]})') from error
        yield


@contextlib.contextmanager
def _handler_kept() -> Iterator[None]:
    """Ray puts a handler of its own for SIGTERM; ours stays in force."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(ray: ModuleType, workers: int, parts: Sequence[Part]) -> Iterator[Built]:
    """What `build_part` returns of each part, in order; VprError as soon as one fails."""
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(build_part)
    waiting, running, done = list(enumerate(parts)), {}, {}
    for number in range(len(parts)):
        while number not in done:
            while waiting and len(running) < (workers or len(parts)):
                following, part = waiting.pop(0)
                running[task.remote(part)] = following
            ready, _ = ray.wait(list(running))
            for reference in ready:
                finished = running.pop(reference)
                done[finished] = _result(ray, reference, parts[finished])
        yield done.pop(number)


def _result(ray: ModuleType, reference: Any, part: Part) -> Built:
    """What a task returned; VprError where its workers died, or it failed."""
    try:
        built = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise VprError(
            f'{part.source[0]}: its worker died, also in {counted(_RETRIES, "retry", "retries")} '
            f'({one_line(str(error)).partition(".")[0][:200]}); if memory is short, give fewer '
            '--workers; build_map goes on where it stopped'
        ) from error
    if built.error:
        raise VprError(built.error)
    return built
