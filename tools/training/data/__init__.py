# SPDX-License-Identifier: Apache-2.0
"""Training pictures: places, views and how they are changed."""
