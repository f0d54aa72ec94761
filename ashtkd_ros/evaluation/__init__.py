# SPDX-License-Identifier: Apache-2.0
"""How good a map and its answers are."""
