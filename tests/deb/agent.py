#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs in a machine that the lab has booted from its disk: carries out commands from the second serial line.

A request is a line of JSON with a shell command; the answer is a line of JSON with the exit status and the output. The
first line from the agent says which kernel runs. systemd starts this as a service of multi-user.target.
"""

import json
import os
import subprocess
import tty

LINE = "/dev/ttyS1"


def main() -> None:
    with open(os.open(LINE, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0) as line:
        tty.setraw(line)
        _say(line, {"started": os.uname().release})
        request = b""
        while True:
            request += line.read(4096)
            while b"\n" in request:
                first, _, request = request.partition(b"\n")
                _say(line, _carry_out(json.loads(first)["command"]))


def _carry_out(command: str) -> dict:
    done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return {"status": done.returncode, "output": done.stdout.decode(errors="replace")}


def _say(line, answer: dict) -> None:
    data = b"\n" + json.dumps(answer).encode() + b"\n"
    while data:
        data = data[line.write(data):]


if __name__ == "__main__":
    main()
