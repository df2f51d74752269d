# SPDX-License-Identifier: GPL-2.0
"""Requests of a guest to the host that runs it (see tools/lab/host/vm.py)."""

PORT = "/run/host"


def pull(controller) -> None:
    """Presses the button of the slot of a PCIe controller, which goes a few seconds later."""
    _ask(f"pull {controller}")


def put_back(controller) -> None:
    """Plugs a controller that was pulled into its slot again."""
    _ask(f"return {controller}")


def plug_node() -> None:
    """Plugs in the memory of a node that has had nothing."""
    _ask("plug-node")


def next_test() -> str:
    """The name of the test that the host wants next; empty when there is none."""
    return _request("next")


def leave(status) -> None:
    """Ends the guest from wherever it is; the host does not wait for anything in it."""
    with open(PORT, "w") as port:
        port.write(f"exit {status}\n")


def _ask(request) -> None:
    answer = _request(request)
    assert answer == "done", f"the host answered {answer!r} to {request!r}"


def _request(request) -> str:
    with open(PORT, "r+b", buffering=0) as port:
        port.write(f"{request}\n".encode())
        return port.readline().decode().removesuffix("\n")
