# SPDX-License-Identifier: GPL-2.0
"""The lab: gets a kernel and its tools, builds, boots, reports.

One module a noun. `paths` says where things are, `log` talks to the user, `process` runs
children, `cache` keeps what was expensive. On these stand `apt`, `toolchain`, `source`, `setup`,
`kernel` and `modules`, which make what the tests run on; each has an `ensure()` that does only
what is missing.
"""
