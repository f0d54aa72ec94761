# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: what they refuse, what they leave behind, what they count."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import Process, until

from tools import process_usage

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ('bench', 'option', 'text'),
    [
        ('node_start', 'starts', '0'),
        ('node_latency', 'images', '0'),
        ('node_latency', 'threads', '-1'),
        ('node_load', 'hz', '-1'),
        ('node_load', 'minutes', '0'),
        ('node_load', 'threads', '-1'),
        ('node_load', 'size', '640'),
        ('node_load', 'size', '0x480'),
        ('embedding', 'rounds', '0'),
        ('embedding', 'threads', '0'),
        ('providers', 'rounds', '0'),
        ('providers', 'threads', '0'),
        ('image_path', 'rounds', '0'),
        ('image_path', 'threads', '0'),
        ('map_building', 'frames', '0'),
        ('map_kills', 'kills', '0'),
        ('ray_build', 'bags', '0'),
        ('ray_build', 'frames', '0'),
        ('ray_build', 'workers', '0'),
        ('map_size', 'places', '0'),
        ('node_memory', 'places', '0'),
        ('node_memory', 'images', '0'),
        ('trial_recording', 'minutes', '0'),
        ('trial_load', 'minutes', '0'),
        ('trial_recording', 'speed', 'nan'),
    ],
)
def test_numbers_without_sense_are_refused(bench: str, option: str, text: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f'tools.bench.{bench}').main([f'--{option}={text}'])
    assert ended.value.code == 2
    assert f'argument --{option}: "{text}" is not a ' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('bench', ['node_start', 'map_building', 'map_kills'])
def test_a_signal_ends_a_bench_and_what_it_started(bench: str, tmp_path: Path) -> None:
    process = Process(tmp_path, f'tools.bench.{bench}')
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    try:
        started = lambda: process.alive and children.read_text().split()  # noqa: E731
        (child,) = until(started, 'its child', lambda: time.sleep(0.01))
        status, _ = process.stop(signal.SIGTERM)
    finally:
        process.kill()
    assert (status, process.stderr) == (130, 'interrupted\n')
    until(lambda: not Path(f'/proc/{child}').exists(), 'its end', lambda: time.sleep(0.01))


def spend(work: Callable[[], object], seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        work()


def test_cpu_time_counts_threads_that_have_ended() -> None:
    before = process_usage.cpu_s(os.getpid()), time.process_time()
    thread = threading.Thread(target=spend, args=(lambda: None, 0.3))
    thread.start()
    thread.join()
    used, told = process_usage.cpu_s(os.getpid()) - before[0], time.process_time() - before[1]
    assert told >= 0.3
    assert used == pytest.approx(told, abs=0.05)


def test_cpu_time_of_chosen_threads_alone() -> None:
    def main_s() -> float:
        return process_usage.threads_cpu_s(os.getpid(), lambda name: name == 'main')

    before = main_s()
    spend(lambda: None, 0.2)
    assert main_s() - before == pytest.approx(0.2, abs=0.05)
    assert process_usage.threads_cpu_s(os.getpid(), lambda _: False) == 0.0


def test_memory_grows_by_what_is_taken() -> None:
    before = process_usage.resident_mib(os.getpid())
    taken = b'x' * (64 * process_usage.MIB)
    assert process_usage.resident_mib(os.getpid()) - before == pytest.approx(64, abs=16)
    del taken
