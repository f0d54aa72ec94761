# SPDX-License-Identifier: Apache-2.0
"""Files that belong together are written all or none, and a kill in between is seen."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_writing import mode, names

from ashtkd_ros.files import writing
from ashtkd_ros.files.writing import write_together


@pytest.mark.parametrize('before', [b'old', None])
@pytest.mark.parametrize('fails', ['fsync', 'rename'])
def test_files_come_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, fails: str
):
    """Whichever call fails, all files are as they were, and no other is left."""
    files = {tmp_path / 'a.json': b'a', tmp_path / 'b.json': None, tmp_path / 'c.html': b'c'}
    for path in files if before else ():
        path.write_bytes(before)
        path.chmod(0o640)
    real, left = getattr(os, fails), []

    def failing(*given):
        if not left.pop():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given)

    monkeypatch.setattr(writing.os, fails, failing)
    tried = 0
    while True:
        left[:] = [*[True] * 20, False, *[True] * tried]  # the call after `tried` others fails
        try:
            write_together(files)
            break
        except OSError:
            tried += 1
        assert names(tmp_path) == (['a.json', 'b.json', 'c.html'] if before else [])
        assert all(p.read_bytes() == before for p in tmp_path.iterdir())
    assert tried >= 2 and names(tmp_path) == ['a.json', 'c.html']
    assert [p.read_bytes() for p in sorted(tmp_path.iterdir())] == [b'a', b'c']
    assert not before or mode(tmp_path / 'a.json') == 0o640


def test_a_kill_between_two_files_leaves_the_last_one_missing(tmp_path: Path):
    code = (
        'import os, signal, sys\nfrom pathlib import Path\n'
        'from ashtkd_ros.files.writing import write_together\n'
        'real, calls = os.rename, []\n'
        'def rename(*given):\n'
        '    calls.append(given)\n'
        '    if len(calls) == int(sys.argv[2]):\n'
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    real(*given)\n'
        'os.rename = rename\n'
        'folder = Path(sys.argv[1])\n'
        'write_together({folder / "r.json": b"new", folder / "r.html": b"new"})\n'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    seen = set()
    for at in range(1, 6):
        folder = tmp_path / str(at)
        folder.mkdir()
        for name in ('r.json', 'r.html'):
            (folder / name).write_text('old')
        subprocess.run([sys.executable, '-c', code, str(folder), str(at)], env=environment)
        found = [p.read_text() for p in map(folder.joinpath, ('r.json', 'r.html')) if p.exists()]
        assert found in (['old'] * 2, ['new'] * 2) or not (folder / 'r.html').exists()
        seen.add(len(found))
    assert seen >= {1, 2}


def test_files_that_are_one_by_a_link_are_not_written_together(tmp_path: Path):
    (tmp_path / 'a.json').symlink_to(tmp_path / 'a.html')
    with pytest.raises(OSError, match='same file'):
        write_together({tmp_path / 'a.json': b'a', tmp_path / 'a.html': b'b'})
    assert names(tmp_path) == ['a.json']
