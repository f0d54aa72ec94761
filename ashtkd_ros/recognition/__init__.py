# SPDX-License-Identifier: Apache-2.0
"""From a descriptor to places, and the pipeline that node and evaluation share."""
