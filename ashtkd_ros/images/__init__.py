# SPDX-License-Identifier: Apache-2.0
"""Pictures and image messages to arrays, and what is wrong with them."""
