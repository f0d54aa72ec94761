# SPDX-License-Identifier: Apache-2.0
"""Builds a map of places from traverses."""
