# SPDX-License-Identifier: Apache-2.0
"""Poses, trajectories, frames and the earth."""
