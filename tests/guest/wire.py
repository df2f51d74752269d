# SPDX-License-Identifier: GPL-2.0
"""Where a port of a target is, and the wire that it needs between host and target.

loop and tcp need nothing. An FC port has a host's adapter and a cable of its own, all of them nvme-fcloop's. An RDMA
port has a network device that leads nowhere, and siw on it, which speaks iWARP over TCP.
"""

import subprocess
from contextlib import suppress
from pathlib import Path

_FCLOOP = Path("/sys/class/fcloop/ctl")
#: The roles of a remote FC port: NVMe target and discovery controller.
_ROLES = 0x60


class Loop:
    MODULES = ("nvme-loop",)
    #: Does the driver try to reconnect?
    RECONNECTS = False

    def __init__(self, number):
        #: The options with which a host connects, besides the transport.
        self.address = {"traddr": str(number)}

    def configuration(self) -> dict:
        """The attributes of the port."""
        return {"addr_traddr": self.address["traddr"]}

    def make(self, stack) -> None:
        """Makes the parts of the wire, until `stack` is closed."""


class Tcp(Loop):
    MODULES = ("nvmet-tcp", "nvme-tcp")
    RECONNECTS = True

    def __init__(self, number):
        self.address = {"traddr": "127.0.0.1", "trsvcid": str(4420 + number)}

    def configuration(self) -> dict:
        return {"addr_adrfam": "ipv4", "addr_traddr": self.address["traddr"], "addr_trsvcid": self.address["trsvcid"]}


class Rdma(Tcp):
    MODULES = ("nvmet-rdma", "nvme-rdma")

    def __init__(self, number):
        self.address = {"traddr": f"10.{77 + number // 256}.{number % 256}.1", "trsvcid": "4420"}
        self._net, self._adapter = f"rdma{number}", f"siw{number}"

    def make(self, stack) -> None:
        _run("ip", "link", "add", self._net, "type", "dummy")
        stack.callback(_run, "ip", "link", "delete", self._net)
        _run("ip", "address", "add", f"{self.address['traddr']}/24", "dev", self._net)
        _run("ip", "link", "set", self._net, "up")
        _run("rdma", "link", "add", self._adapter, "type", "siw", "netdev", self._net)

    def break_down(self) -> None:
        """Takes the adapter away from both ends, for good."""
        _run("rdma", "link", "delete", self._adapter)


class Fc(Loop):
    MODULES = ("nvmet-fc", "nvme-fc", "nvme-fcloop")
    RECONNECTS = True

    def __init__(self, number):
        self._host, self._target = ({"wwnn": f"0x1{end}{number:014x}", "wwpn": f"0x2{end}{number:014x}"} for end in (0, 1))
        self.address = {"traddr": _where(self._target), "host_traddr": _where(self._host)}

    def configuration(self) -> dict:
        return {"addr_adrfam": "fc", "addr_traddr": self.address["traddr"]}

    def make(self, stack) -> None:
        _tell("add_local_port", self._host)
        stack.callback(_tell, "del_local_port", self._host)
        self.mend()
        stack.callback(self._break_at_last)
        # The target port goes before the cable. Otherwise its last word may come when the cable has just gone. For that
        # case the kernel's own host driver gives fcloop no answer to copy, and fcloop then copies from address 0.
        _tell("add_target_port", self._target)
        stack.callback(_tell, "del_target_port", self._target)

    def break_down(self) -> None:
        """Pulls the cable."""
        _tell("del_remote_port", self._target)

    def mend(self) -> None:
        """Plugs the cable in."""
        _tell("add_remote_port", self._target | {"lpwwnn": self._host["wwnn"], "lpwwpn": self._host["wwpn"],
                                                 "roles": _ROLES})

    def _break_at_last(self) -> None:
        with suppress(FileNotFoundError):  # a test has done so
            self.break_down()


KINDS = {"loop": Loop, "tcp": Tcp, "rdma": Rdma, "fc": Fc}


def _where(names) -> str:
    return f"nn-{names['wwnn']}:pn-{names['wwpn']}"


def _tell(what, names) -> None:
    (_FCLOOP / what).write_text(",".join(f"{key}={value}" for key, value in names.items()))


def _run(*command) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
