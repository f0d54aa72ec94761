# SPDX-License-Identifier: Apache-2.0
"""The shipped student on real photos: verified answers are right more often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing

from ashtkd_ros.network.embedder import Embedder
from tools.training.studies.student_sets import DESCRIPTOR, VERIFIED, Answers, answer_set


def recall(answers: Answers) -> float:
    """Share of the queries, in percent, whose first place is right."""
    first = answers.ranking[:, 0]
    return 100 * float(answers.right[np.arange(len(first)), first].mean())


def test_verified_answers_are_right_more_often_in_a_corridor(shared: Path, student: Path):
    embedder = Embedder(student)
    if embedder.local is None:
        pytest.skip('the shipped student has no local features')
    answers = answer_set(shared / 'data' / 'val' / 'corridor', embedder)
    alone, verified = recall(answers[DESCRIPTOR]), recall(answers[VERIFIED])
    assert verified > alone > 88 and verified > 91
    checks = [found[0].check for found in answers[VERIFIED].candidates]
    right = answers[VERIFIED].right[range(len(checks)), answers[VERIFIED].ranking[:, 0]]
    leads = np.array([check.lead for check in checks])
    assert np.median(leads[right]) > np.median(leads[~right])
