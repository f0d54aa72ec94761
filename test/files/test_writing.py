# SPDX-License-Identifier: Apache-2.0
"""A result is written whole or not at all, whatever goes wrong, and nothing else is left."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import writing
from ashtkd_ros.files.checksums import sha256_of, sha256_of_file
from ashtkd_ros.files.writing import (
    cannot_write,
    check_output,
    whole_file,
    whole_folder,
    write_bytes,
    write_text,
)

AS_NOBODY = """
import os, sys
from pathlib import Path
from ashtkd_ros.files.writing import check_output, write_text
from ashtkd_ros.errors import VprError
os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
for call in (check_output, lambda p: write_text(p, 'new')):
    try:
        call(path)
    except (OSError, VprError) as error:
        print(error)
"""


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path, umask: int):
    write_text(tmp_path / 'a.json', '{}')
    with whole_file(tmp_path / 'b.bin') as draft, draft.open('wb') as file:
        file.write(b'b')
    with whole_folder(tmp_path / 'folder') as new:
        new.mkdir()
        (new / 'c').touch()
    assert mode(tmp_path / 'a.json') == mode(tmp_path / 'b.bin') == 0o666 & ~umask
    assert mode(tmp_path / 'folder') == 0o777 & ~umask
    assert names(tmp_path) == ['a.json', 'b.bin', 'folder']


@pytest.mark.parametrize('before', [0o600, 0o640, 0o664, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, umask: int, before: int):
    path = tmp_path / 'a.html'
    path.touch()
    path.chmod(before)
    write_text(path, 'new')
    assert (path.read_text(), mode(path)) == ('new', before)


@pytest.mark.parametrize('before', [0o600, 0o644])
def test_nobody_else_can_read_the_draft_of_a_file_that_is_replaced(tmp_path: Path, before: int):
    path = tmp_path / 'a.npz'
    path.touch()
    path.chmod(before)
    with whole_file(path) as draft:
        with draft.open('wb') as file:
            file.write(b'secret')
        assert mode(draft) == 0o600
    assert mode(path) == before
    with whole_file(path) as draft:
        draft.write_bytes(b'')  # to empty a file is no mistake
    assert path.read_bytes() == b'' and mode(path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away')
def test_a_replaced_file_keeps_its_owner(tmp_path: Path):
    path = tmp_path / 'a.html'
    path.touch()
    os.chown(path, 1234, 4321)
    write_text(path, 'new')
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


@pytest.mark.parametrize('there', [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, there: bool):
    (tmp_path / 'far').mkdir()
    target, link = tmp_path / 'far' / 'a.html', tmp_path / 'a.html'
    link.symlink_to('far/a.html')
    if there:
        target.write_text('old')
    write_text(link, 'new')
    assert link.is_symlink() and target.read_text() == 'new' and names(target.parent) == ['a.html']


@pytest.mark.parametrize('there', [True, False])
def test_a_link_is_replaced_on_demand(tmp_path: Path, there: bool):
    target, link = tmp_path / 'old.pt', tmp_path / 'a.pt'
    link.symlink_to(target)
    if there:
        target.write_text('old')
    write_text(link, 'new', follow_links=False)
    assert not link.is_symlink() and link.read_text() == 'new'
    assert (target.read_text() == 'old') if there else not target.exists()


def test_a_loop_of_links_is_an_error(tmp_path: Path):
    (tmp_path / 'a').symlink_to(tmp_path / 'a')
    with pytest.raises(OSError):
        write_text(tmp_path / 'a', 'new')
    assert names(tmp_path) == ['a']


@pytest.mark.parametrize('stop', [KeyboardInterrupt, SystemExit, OSError, ValueError])
@pytest.mark.parametrize('before', [b'old', None])
def test_a_body_that_fails_leaves_all_as_it_was(tmp_path: Path, stop: type, before: bytes | None):
    path = tmp_path / 'a.npz'
    if before:
        path.write_bytes(before)
    with pytest.raises(stop), whole_file(path) as draft:
        draft.write_bytes(b'half')
        raise stop
    assert names(tmp_path) == (['a.npz'] if before else [])
    assert not before or path.read_bytes() == before


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_write_that_fails_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / 'a.json', 'old')
    monkeypatch.setattr(writing.os, call, fail)
    with pytest.raises(OSError, match='No space left'):
        write_text(tmp_path / 'a.json', 'new')
    assert (tmp_path / 'a.json').read_text() == 'old' and names(tmp_path) == ['a.json']


def test_a_really_full_disk_leaves_the_old_file(tmp_path: Path):
    """On a file system of 64 KiB, mounted where only the test's own process sees it."""
    mount = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'
    prefix = ['unshare', '--map-root-user', '--mount', 'sh', '-c', mount, str(tmp_path)]
    if (
        not shutil.which('unshare')
        or subprocess.run([*prefix, 'true'], capture_output=True).returncode
    ):
        pytest.skip('no file system can be mounted here')
    code = """
import sys
from pathlib import Path
from ashtkd_ros.files.writing import whole_folder, write_bytes
path = Path(sys.argv[1], 'a.json')
write_bytes(path, b'old')
def fill():
    with whole_folder(path.parent / 'bag') as new:
        new.mkdir()
        for i in range(9):
            (new / str(i)).write_bytes(bytes(16384))
for call in (lambda: write_bytes(path, bytes(100_000)), fill):
    try:
        call()
    except OSError as error:
        print(error.strerror, path.read_bytes(), [p.name for p in path.parent.iterdir()])
write_bytes(path, b'new')
print(path.read_bytes())
"""
    done = subprocess.run(
        [*prefix, sys.executable, '-c', code, str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No space left on device b'old' ['a.json']\n" * 2 + "b'new'\n"


def test_a_kill_leaves_the_old_file(tmp_path: Path):
    code = (
        'import sys, time\nfrom pathlib import Path\n'
        'from ashtkd_ros.files.writing import whole_file\n'
        'with whole_file(Path(sys.argv[1])) as draft:\n'
        '    draft.write_text("half")\n    print("there", flush=True)\n    time.sleep(60)\n'
    )
    path = tmp_path / 'a.json'
    path.write_text('old')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-c', code, str(path)]
    for sent, left in ((signal.SIGINT, 1), (signal.SIGKILL, 2)):
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout.readline() == 'there\n'
            process.send_signal(sent)
        assert path.read_text() == 'old' and len(names(tmp_path)) == left


@pytest.mark.parametrize('kind', ['folder', 'pipe', 'device'])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str):
    path = tmp_path / 'a'
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to('/dev/null')
    for follow_links in (True, False) if kind != 'device' else (True,):
        with pytest.raises(OSError, match='it is '):
            write_text(path, 'new', follow_links)
    with pytest.raises(VprError, match='it is'):
        check_output(path)
    assert names(tmp_path) == ['a'] and stat.S_ISCHR(os.stat('/dev/null').st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason='must become another user')
def test_a_write_protected_file_is_kept(tmp_path: Path):
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:  # which the other user must pass
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    path = tmp_path / 'a.html'
    path.write_text('old')
    path.chmod(0o444)
    done = subprocess.run(
        [sys.executable, '-c', AS_NOBODY, str(path)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.count('write-protected') == 2, done.stderr
    assert path.read_text() == 'old' and names(tmp_path) == ['a.html']


@pytest.mark.parametrize('name', ['a' * 250, 'ü' * 120 + '.json', 'a.' + 'x' * 200, '.hidden'])
def test_names_of_any_length(tmp_path: Path, name: str):
    write_bytes(tmp_path / name, b'new')
    assert names(tmp_path) == [name]
    (tmp_path / name).unlink()
    with whole_folder(tmp_path / name) as new:
        new.mkdir()
    assert names(tmp_path) == [name]


def test_names_and_text_that_are_no_utf_8(tmp_path: Path):
    path = tmp_path / os.fsdecode(b'caf\xe9.html')
    write_text(path, f'{path.name} of é')
    assert path.read_bytes() == 'caf?.html of é'.encode()


def test_the_draft_has_the_suffix_that_libraries_look_at(tmp_path: Path):
    with whole_file(tmp_path / 'a.b.onnx') as draft:
        assert draft.suffix == '.onnx' and draft.parent == tmp_path and draft.name[0] == '.'
        draft.touch()


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path):
    (tmp_path / 'a').write_text('old')
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / 'a'):
        pass
    assert (tmp_path / 'a').read_text() == 'old'


@pytest.mark.parametrize('stop', [KeyboardInterrupt, OSError])
def test_a_folder_comes_whole_or_not_at_all(tmp_path: Path, stop: type):
    with pytest.raises(stop), whole_folder(tmp_path / 'bag') as new:
        (new / 'inner').mkdir(parents=True)
        raise stop
    assert names(tmp_path) == []
    (tmp_path / 'bag').mkdir(mode=0o750)
    with whole_folder(tmp_path / 'bag') as new:
        new.mkdir()
        (new / 'a').touch()
    assert names(tmp_path) == ['bag'] and names(tmp_path / 'bag') == ['a']
    assert mode(tmp_path / 'bag') == 0o750
    with pytest.raises(OSError), whole_folder(tmp_path / 'bag') as new:
        new.mkdir()
    assert names(tmp_path) == ['bag'] and names(tmp_path / 'bag') == ['a']


def test_a_mount_point_is_refused_before_the_work():
    with pytest.raises(OSError, match='mount point'), whole_folder(Path('/proc')):
        raise AssertionError('the work was done')


def test_check_output_looks_where_a_link_leads(tmp_path: Path):
    (tmp_path / 'a.html').symlink_to(tmp_path / 'far' / 'a.html')
    check_output(tmp_path / 'a.html')
    write_text(tmp_path / 'a.html', 'new')
    assert (tmp_path / 'far' / 'a.html').read_text() == 'new'
    (tmp_path / 'file').touch()
    (tmp_path / 'b.html').symlink_to(tmp_path / 'file' / 'b.html')
    with pytest.raises(VprError) as error:
        check_output(tmp_path / 'b.html')
    assert 'cannot be written' in line_of(error)


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path):
    for number, advice in ((errno.ENOSPC, 'make room on the disk'), (errno.EROFS, 'another pl')):
        error = cannot_write(tmp_path, OSError(number, os.strerror(number)), 'the report')
        assert f'the report cannot be written ({os.strerror(number)}); ' in str(error)
        assert advice in str(error)
    full = cannot_write(tmp_path, sqlite3.OperationalError('database or disk is full'))
    assert 'make room on the disk' in str(full)


def test_checksums_of_bytes_and_files(tmp_path: Path):
    data = os.urandom(3 * 2**20 + 1)
    (tmp_path / 'a').write_bytes(data)
    assert (
        sha256_of(data) == sha256_of_file(tmp_path / 'a') == sha256_of_file(tmp_path / 'a', True)
    )
    assert sha256_of(b'')[:8] == 'e3b0c442'
    with pytest.raises(OSError):
        sha256_of_file(tmp_path)


FILLING = """
import sys, time
from pathlib import Path
from ashtkd_ros.files.writing import whole_folder
with whole_folder(Path(sys.argv[1])) as new:
    new.mkdir()
    (new / 'half').touch()
    print('there', flush=True)
    time.sleep(60)
"""


def test_what_a_kill_left_of_a_folder_is_cleared_by_the_next_call(tmp_path: Path):
    other, users = tmp_path / 'other', tmp_path / '.bag.0123456789abcdef.new'
    (users / 'mine').mkdir(parents=True)  # no draft of ours, though it has such a name
    command = [sys.executable, '-c', FILLING]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    processes = [
        subprocess.Popen([*command, str(path)], env=environment, stdout=subprocess.PIPE)
        for path in (tmp_path / 'bag', tmp_path / 'bag', other)
    ]
    try:
        assert [process.stdout.readline() for process in processes] == [b'there\n'] * 3
        processes[0].kill()
        processes[2].kill()
        for killed in processes[::2]:
            killed.wait()
        assert len(names(tmp_path)) == 4
        with whole_folder(tmp_path / 'bag') as new:
            assert len(names(tmp_path)) == 4  # this one in the place of the one that was killed
            new.mkdir()
        # The draft of the living process, that of the other folder, and the user's.
        left = [name.split('.')[1] for name in names(tmp_path) if name.startswith('.')]
        assert left == ['bag', 'bag', 'other'] and users.is_dir()
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_folder_is_written_where_the_file_system_has_no_locks(tmp_path: Path, monkeypatch):
    def flock(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, 'not supported')

    monkeypatch.setattr(fcntl, 'flock', flock)
    left = tmp_path / '.bag.0123456789abcdef.new'
    left.mkdir()
    with whole_folder(tmp_path / 'bag') as new:
        new.mkdir()
    assert names(tmp_path) == [left.name, 'bag']
