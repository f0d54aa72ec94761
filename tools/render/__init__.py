# SPDX-License-Identifier: Apache-2.0
"""Rendered walks: a small town by seed, driven through by day, dusk, night, rain and fog.

`python -m tools.render --help` shows the settings of one walk; `python -m tools.render --shipped`
renders the two walks in test/data/town (remove them first). `walk.iterate_walk` gives pictures and
poses without files, as many places as training wants. Needs tools/requirements/render.txt.
"""
