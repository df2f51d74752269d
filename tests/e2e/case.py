# SPDX-License-Identifier: GPL-2.0
"""A test: a function whose name is a sentence about behaviour, with the time that it may take.

    @test
    def a_lost_path_costs_no_io(): ...

    @test(over=("loop", "tcp"))
    def a_lost_path_costs_no_io(transport): ...     # two tests, ..._over_loop and ..._over_tcp

    @test(warns=("a path is added that is on a head",))
    def a_path_that_is_added_twice_is_refused(): ...        # and the kernel warns so, once

    @test(machine="one node")
    def one_node_is_enough(): ...                   # not in the usual machine; tools/lab/suites/e2e.py has them

    @test(within=loaded)            # loaded() is entered before it, and left when the next test is not within it
    def a_mistake_is_refused(): ...

    @test(long=True)
    def it_holds_for_hours(): ...                   # only when asked for, as `make test` has no time for it

A test passes when it returns, fails when it raises, and is skipped when it raises Skip (tests/guest/skip.py).
"""

from dataclasses import dataclass
from collections.abc import Callable

#: Seconds that a test may take, on a slow and busy machine; more when the guest is slower (`wait.SLOWNESS`).
LIMIT = 90

#: Every test by name, in the order of the source.
cases = {}


@dataclass(frozen=True)
class Case:
    name: str
    function: Callable
    arguments: tuple
    limit: int
    warns: tuple
    machine: str
    long: bool
    #: Makes the context that tests have in common which run one after the other, or None.
    within: Callable | None

    def run(self) -> None:
        self.function(*self.arguments)


def test(function=None, *, over=(), limit=LIMIT, warns=(), machine="", long=False, within=None):
    """Makes a function a test, or one test for each of the arguments in `over`."""
    if function is None:
        return lambda function: test(function, over=over, limit=limit, warns=warns, machine=machine, long=long, within=within)
    for argument in over or (None,):
        name = function.__name__ + (f"_over_{argument}" if over else "")
        assert name not in cases, f"two tests are called {name}"
        cases[name] = Case(name, function, (argument,) if over else (), limit, warns, machine, long, within)
    return function
