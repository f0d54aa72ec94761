# SPDX-License-Identifier: Apache-2.0
"""Where a query and the place that was named for it agree, found once more for a report."""

from __future__ import annotations

from ashtkd_ros.evaluation.experiment import Experiment
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import Matches


class MatchedPositions:
    """Called with a judged query: where it and its place agree; None where that is not known.

    The query is recognised again, so that the matches of a long traverse need not be kept, and
    those of a node's answers are there too. VprError where its image is gone.
    """

    def __init__(self, experiment: Experiment, embedder: Embedder):
        self._embedder, self._matcher = embedder, experiment.matcher()

    def __call__(self, judged: JudgedQuery) -> Matches | None:
        """The matches, None where nothing is verified, or another place comes out this time."""
        if judged.place is None or self._matcher.map.local is None:
            return None
        pixels, order = judged.query.pixels(self._embedder.ample_size)
        look = self._embedder.describe(self._embedder.resize(pixels), order)
        answer = self._matcher.answer(look, 1)
        return answer.matches if answer.candidates[0].place.id == judged.place.id else None
