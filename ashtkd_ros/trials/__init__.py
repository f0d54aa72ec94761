# SPDX-License-Identifier: Apache-2.0
"""Outdoor trials: the folder of a trial, what is checked and watched in it, and its report."""
