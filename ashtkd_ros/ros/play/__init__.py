# SPDX-License-Identifier: Apache-2.0
"""Recordings played as a camera, and listeners to what a node answers."""
