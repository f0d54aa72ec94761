# SPDX-License-Identifier: Apache-2.0
"""Rendered walks: a small town by seed, driven through by day, dusk, night, rain and fog.

The two walks in test/data/town come from one command: `python -m tools.render --shipped`.
"""
