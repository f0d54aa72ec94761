# SPDX-License-Identifier: Apache-2.0
"""What doc/ holds that is made from the code: tables, help texts, the picture of the storeys."""
