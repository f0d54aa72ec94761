# SPDX-License-Identifier: Apache-2.0
"""What the ablation says: tables by two measures, and each claim's gap with its interval."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.marks import PNG_METADATA, json_keys
from ashtkd_ros.files.reading import read_text
from ashtkd_ros.files.writing import check_output, whole_file, write_errors, write_together
from tools.training.outputs import check_picture_output
from tools.training.studies.ablation_results import Results
from tools.training.studies.paired_gap import Gap, PairedGaps
from tools.training.studies.student_sets import DESCRIPTOR, VERIFIED

UNTRAINED, ALONE, MATCHED = 'not trained', 'student alone', 'student alone, with matches'
SOFT, HARD = 'soft only, 3 teachers', 'hard only, 3 teachers'
BOTH = {1: 'soft + hard, 1 teacher', **{n: f'soft + hard, {n} teachers' for n in (2, 3, 4)}}
FULL, EQUAL = 'all steps, 3 teachers', 'without adaptive weights'
SINGLE = 'one teacher alone'  # and after a colon its name, as in other rows of teachers
# Top-1 in %, the means of the four columns of the paper's Table II.
PAPER = {ALONE: 83.475, SINGLE: 85.475, SOFT: 83.925, HARD: 84.675, BOTH[1]: 85.05, BOTH[3]: 85.95}
# The first is better than the second. The first line is the main claim; those of the paper come
# first, then what this project adds. Without feature level the method is soft + hard.
CLAIMS = [
    (BOTH[3], ALONE),
    (BOTH[3], SINGLE),
    (BOTH[3], HARD),
    (HARD, SOFT),
    (SOFT, ALONE),
    (BOTH[1], ALONE),
    (BOTH[3], BOTH[1]),
    (BOTH[2], BOTH[1]),
    (BOTH[3], BOTH[2]),
    (BOTH[4], BOTH[3]),
    (FULL, ALONE),
    (FULL, MATCHED),
    (FULL, BOTH[3]),
    (FULL, EQUAL),
    (FULL, SINGLE),
    (MATCHED, ALONE),
    (ALONE, UNTRAINED),
]
_START = b'| Recall@1 in %, '


def gaps_of(results: Results, measure: str) -> dict[tuple[str, str], Gap]:
    """Each claim whose rows are there → its gap by one measure."""
    gaps, found = PairedGaps(results.queries()), {}
    named = {row.partition(':')[0]: row for row in reversed(results.rows)}
    for better, worse in CLAIMS:
        rows = [named[name] for name in (better, worse) if name in named]
        right = [results.right(row, measure) for row in rows]
        if len(right) == 2 and None not in right:
            found[better, worse] = gaps.gap(*right)
    return found


def report_of(results: Results) -> str:
    """Tables and claims by both measures, Markdown."""
    parts = []
    for measure in (VERIFIED, DESCRIPTOR):
        lines = table(results, measure)
        if lines:
            claims = [claim_line(*pair, gap) for pair, gap in gaps_of(results, measure).items()]
            parts += [*lines, '', *claims, '']
    revisions = sorted({r for row in results.rows.values() for r in row.revisions if r})
    count = sum(map(len, results.spots.values()))
    seeds = max(len(row.seeds) for row in results.rows.values())
    hours = sum(sum(row.seconds) for row in results.rows.values()) / 3600
    made = f'made in {hours:.1f} h, revision {", ".join(revisions) or "unknown"}'
    parts.append(f'{count} queries, {seeds} seeds; {made}.')
    return '\n'.join([*parts, ''])


def table(results: Results, measure: str) -> list[str]:
    """Mean over the seeds, a column a group and their mean, the latter ± deviation of the seeds.

    Empty where no row has the measure.
    """
    counts = {group: len(spots) for group, spots in results.queries().spots.items()}
    heads = [f'{group} ({count})' for group, count in counts.items()]
    lines = [f'{_START.decode()}{measure} | {" | ".join(heads)} | mean |']
    lines.append('|---|' + '---|' * (len(heads) + 1))
    for row in results.rows:
        values = _recalls(results, row, measure)
        if values is not None:
            cells = [f'{value:.1f}' for value in values.mean(axis=0)]
            mean = values.mean(axis=1)
            spread = f' ± {mean.std(ddof=1):.1f}' if len(mean) > 1 else ''
            cells.append(f'{mean.mean():.1f}{spread}')
            lines.append(f'| {row} | {" | ".join(cells)} |')
    return lines if len(lines) > 2 else []


def _recalls(results: Results, row: str, measure: str) -> np.ndarray | None:
    """Recall@1 in %, float (S, groups); None where the row has not this measure."""
    right = results.right(row, measure)
    if right is None:
        return None
    return np.column_stack([100 * hits.mean(axis=1) for hits in right.values()])


def mean_recall(results: Results, row: str, measure: str) -> str:
    """Recall@1 in %, mean of the groups and seeds; empty where the row has not this measure."""
    values = _recalls(results, row, measure)
    return '' if values is None else f'{values.mean():.1f}'


def claim_line(better: str, worse: str, gap: Gap) -> str:
    """A claim, its verdict, its gap, the smallest gap that would be seen, and the paper's gap."""
    paper = ''
    if better in PAPER and worse in PAPER:
        paper = f'; in the paper {PAPER[better] - PAPER[worse]:+.1f}'
    if np.isnan(gap.low):
        return f'- {better} > {worse}: not resolved ({gap.points:+.1f} points, one seed{paper})'
    return (
        f'- {better} > {worse}: {gap.verdict} ({gap.points:+.1f} points, {gap.low:+.1f} to '
        f'{gap.high:+.1f}; {gap.resolvable:.1f} can be resolved{paper})'
    )


def picture(results: Results, path: Path) -> None:
    """The rows' means with the seeds' deviation, and the claims' gaps with their intervals."""
    matplotlib.use('Agg')
    from matplotlib import pyplot

    measure = VERIFIED if table(results, VERIFIED) else DESCRIPTOR
    recalls = {row: _recalls(results, row, measure) for row in results.rows}
    means = {row: x.mean(axis=1) for row, x in recalls.items() if x is not None}
    gaps = {f'{a} > {b}': gap for (a, b), gap in gaps_of(results, measure).items()}
    size = (12, 0.3 * max(len(means), len(gaps)) + 1.2)
    figure, (bars, points) = pyplot.subplots(1, 2, figsize=size, layout='constrained')
    heights = [m.mean() for m in means.values()]
    spreads = [m.std(ddof=1) if len(m) > 1 else 0.0 for m in means.values()]
    bars.barh(list(means), heights, xerr=spreads, color='#7aa6c2')
    bars.set_xlim(max(0.0, min(heights) - 5), None)
    bars.set_xlabel(f'Recall@1, {measure}, mean of the groups [%]')
    shown = {name: gap for name, gap in gaps.items() if not np.isnan(gap.low)}
    middle, half = ([getattr(g, k) for g in shown.values()] for k in ('points', 'resolvable'))
    points.errorbar(middle, list(shown), xerr=half, fmt='o', capsize=3, color='#2f6f8f')
    points.axvline(0.0, color='#888888', linewidth=0.8)
    points.set_xlabel('gap and its 95 % interval [points]')
    for axes in (bars, points):
        axes.invert_yaxis()
    with write_errors(path, 'the picture'), whole_file(path) as draft:
        figure.savefig(draft, dpi=90, metadata=PNG_METADATA)
    pyplot.close(figure)


def read_results(file: Path) -> Results:
    """The results in a stored report.json; VprError where the file is not one."""
    try:
        return Results.from_json(read_text(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VprError(
            f'{file}: not a report.json of tools.training.studies.ablation; name another file'
        ) from error


def check_report(out: Path) -> None:
    """VprError where the report of an ablation cannot be written into the folder `out`."""
    check_output(out / 'report.md', lambda data: data.startswith(_START))
    check_output(out / 'report.json', lambda data: {'rows', 'digests'} <= json_keys(data))
    check_picture_output(out / 'ablation.png')


def write_report(results: Results, out: Path) -> str:
    """Write the report, what it is made of, and its picture into `out`; returns the report."""
    check_report(out)
    report = report_of(results)
    with write_errors(out, 'the report'):
        stored = results.to_json().encode()
        write_together({out / 'report.json': stored, out / 'report.md': report.encode()})
    picture(results, out / 'ablation.png')
    return report
