# SPDX-License-Identifier: GPL-2.0
#
# The everyday commands. All of them are tools/lab.py's; this finds it a python3 and passes on
#
#   KVER=7.2                   the kernel, Linux 7.2 or 7.3; without it, the newest one that can be had
#   KSRC=/path/to/linux-7.3    a kernel source tree to use instead of the distribution's
#   KDIR=/path/to/build        a configured and built kernel, for `make modules` and its users
#   STOCK=1                    the kernel's own NVMe instead of ours
#   STOCK=fixed                the same with drivers/nvme/fixes/, for `make e2e` and `make modules`
#   STOCK=kept                 the same as the series keeps it, beside ours
#   ONE_PASS=n                 a library that submits bios to paths as to any other disk, for `make e2e` and `make modules`
#   LONG=1                     also the tests of `make e2e` that take minutes
#   SAMPLE=name                a driver of samples/ instead of NVMe
#   SECONDS=n SEED=n           how long `make storm` takes, and which chance it follows
#   KERNEL=plain|sanitize      one of the two kernels of `make storm` instead of both
#   ARCH=arm64                 `make kernel`, `kunit` and `e2e` for another architecture, which is emulated
#   ACCEL=kvm                  guests on the host's own CPU instead of an emulated one
#   DAY=2026-11-27             whose turn it is among what `make test` takes in turns, instead of today's
#   MINUTES=n SEED=n           the same of `make soak`
#   QUICK=1                    `make bench` with two paths only
#   PATCHES=n                  so many patches of `make mutants`, others every day
#   AGAIN=1                    builds and computes what was kept from before; `make long` forgets what it has run
#   CASES=n                    how many cases each parser gets from `make fuzz`
#   BUILD=1                    `make series` builds and boots every patch
#   CONFIG=file|lab            the configuration of `make deb`, instead of the running kernel's; the lab's is small
#   LOCALMODCONFIG=1           `make deb` leaves out the modules that this machine does not use now
#   SERIES=n                   `make deb` builds KSRC= as it is
#   INSTALL=1                  `make deb`, as root, may install the packages that it needs

export KVER KSRC KDIR STOCK ONE_PASS LONG SAMPLE BUILD MINUTES SECONDS SEED KERNEL QUICK CASES PATCHES DAY ACCEL ARCH AGAIN CONFIG LOCALMODCONFIG SERIES INSTALL

COMMANDS := setup demo test long lab model litmus fuzz misuse kunit e2e parity sanitize faults storm soak bench errors mutants modules samples kernel check doc series deb deb-test rust-analyzer clean distclean
.PHONY: help python $(COMMANDS)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## */\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: ## boot a kernel with several paths to one disk, pull one out under verified I/O
test: ## all that must pass before a change lands
long: ## the same and all that it only samples, whole, for hours; goes on where it was stopped; AGAIN=1
lab: ## the tests of the lab: that it judges bad runs bad
model: ## the host tests: policies, state machines, interleavings
litmus: ## the protocols in the kernel's memory model, and that the source is as they say
fuzz: ## every parser of what comes from outside, CASES=1000000 of anything each, on the host
misuse: ## what must not compile against the Rust face does not
kunit: ## the library's KUnit suites in a booted kernel
e2e: ## the real NVMe driver on the library, end to end
parity: ## what our NVMe and the kernel's own do differently, if anything
sanitize: ## the tests on a kernel with KASAN, lockdep, kmemleak and the like; QUICK=1
faults: ## each allocation of the library and of what is on it fails in turn, in the kernel with sanitizers
storm: ## everything that can happen to paths, at random, under verified I/O, in two kernels, for SECONDS=600
soak: ## the gentle part of it, on NVMe in the plain kernel, for MINUTES=10
bench: ## what an I/O costs, ours beside the kernel's own, in exact instructions; QUICK=1
errors: ## what errors of paths cost, ours beside the kernel's own: throughput and the worst read
mutants: ## fixes taken out again, one by one, and the tests that notice
check: ## rustfmt, clippy, ruff, checkpatch, rustdoc, kernel-doc, the count of unsafe, the litmus tests and docs/defects.md against the source
doc: ## the reference of the Rust face and of the C face, in build/doc
series: ## the project as patches for a kernel tree, in build/series
deb: ## Debian packages of a kernel with the series, and of mpath-top, for this machine; CONFIG=lab, LOCALMODCONFIG=1
deb-test: ## the same with CONFIG=lab on a Debian machine in QEMU: installed, booted, a path lost, and back again
rust-analyzer: ## rust-project.json, for completion and types in an editor
modules: ## the library and NVMe on it, for the lab's kernel or for KDIR=
samples: ## the library and the drivers of samples/
kernel: ## the lab's kernel; KVER=7.2 or 7.3 says which one, here and for all others
setup: ## the packages and tools that the others need
clean: ## remove build/
distclean: ## remove build/ and the cache of sources, tools and kernels

$(COMMANDS): python
	@exec python3 tools/lab.py $@

python:
	@command -v python3 >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get -q update && apt-get -qy install --no-install-recommends python3; } || \
		{ echo "error: python3 is missing (as root: apt-get install python3)" >&2; exit 1; }
