# SPDX-License-Identifier: Apache-2.0
"""The steps of ASHT-KD's teaching, and the loss they make."""
