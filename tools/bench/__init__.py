# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: each prints the figures of doc/results.md that name it."""
