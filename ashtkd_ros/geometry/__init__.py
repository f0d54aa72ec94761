# SPDX-License-Identifier: Apache-2.0
"""Poses, trajectories, coordinate frames, and positions on earth."""
