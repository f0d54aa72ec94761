# SPDX-License-Identifier: Apache-2.0
"""The study of verification prints its time beside the embedding's."""

from __future__ import annotations

import training_packages  # noqa: F401  skips where one of them is missing

from tools.training.studies import verification_time


def test_times_are_told_as_shares_of_the_embedding(capsys):
    assert verification_time.main(['--rounds', '2']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == 'embedding' and '1.00 of the embedding' in lines[0]
    assert lines[1].startswith('    verification of 20')
    assert lines[-1].startswith('descriptor ') and ' | verified ' in lines[-1]
