# SPDX-License-Identifier: GPL-2.0
"""`make demo`: boots a kernel with several paths to one disk, takes paths away under verified I/O, tells.

SAMPLE= names a driver of samples/ to run on instead of NVMe. The guest's side is tests/demo/, which prints each event
as a JSON record a line. This shows the records as they come, sums them up, and leaves the sum in build/reports/ with a
picture of it.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import vm

TIMEOUT_SECONDS = 300
#: A disk that one controller on each NUMA node leads to.
TOPOLOGY = vm.Topology(subsystems=(vm.Subsystem("demo", {"c0": 0, "c1": 1}),))
COMMAND = ["python3", "-m", "tests.demo.guest"]
#: The drivers of samples/, by their names for SAMPLE=.
SAMPLES = ("rust", "rust_mq", "c", "c_mq")
#: The pairs that are worth a comparison.
COUNTERPARTS = {"ours": "stock", "stock": "ours", "rust": "c", "c": "rust", "rust_mq": "c_mq", "c_mq": "rust_mq"}

#: Stalls that are worth a line while the demonstration runs.
SHOWN_STALL_SECONDS = 0.1


def run() -> tuple:
    """Returns the last line for the user and the exit status."""
    sample = os.environ.get("SAMPLE", "")
    if sample and sample not in SAMPLES:
        log.fail(f"SAMPLE={sample} is none of {', '.join(SAMPLES)}")
    which = sample or ("stock" if os.environ.get("STOCK") else "ours")
    setup.ensure()
    story = _Story(which)
    result = _play(which, story)
    report = story.report()
    faults = _faults(result, report)
    file = _report_of(which)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")
    picture = file.with_suffix(".svg")
    if any(act["samples"] for act in report["acts"]):
        _draw(file, picture)
    _summarize(report)
    if faults:
        return f"demo failed: {'; '.join(faults)}", 1
    return f"demo passed: {report['path_losses']} path losses, no I/O lost; see {os.path.relpath(picture)}", 0


def _play(which, story) -> vm.Result:
    built = kernel.ensure()
    directory = modules.ensure("samples" if which in SAMPLES else which)
    shared = paths.BUILD / "demo"
    shutil.rmtree(shared, ignore_errors=True)
    console = paths.LOGS / f"demo-{which}-console.log"
    log.info(f"demo: booting {built.release} with {which} {'sample' if which in SAMPLES else 'NVMe'} modules")
    command, topology = ([*COMMAND, which], vm.Topology()) if which in SAMPLES else (COMMAND, TOPOLOGY)
    result = vm.run(built, command, directory, topology, TIMEOUT_SECONDS, console, shared,
                    smp=2, output=story.take)
    log.info(f"demo: the guest: {result}")
    return result


def _report_of(which) -> Path:
    return paths.REPORTS / f"demo{'' if which == 'ours' else f'-{which}'}.json"


def _faults(result, report) -> list:
    """The reasons why the demonstration did not succeed, if any."""
    faults = []
    if not result.ok:
        faults.append(str(result))
    if report["errors"] or not report["bytes_verified"]:
        faults.append(f"{report['errors']} I/O errors, {report['bytes_verified']} bytes verified")
    if report["path_losses"] < 2:
        faults.append(f"{report['path_losses']} path losses survived where two are asked for")
    if report["kernel_log"]:
        faults.append(f"the kernel complained: {report['kernel_log'][0]}")
    return faults


def _draw(report, picture) -> None:
    with log.step("plot", f"drawing {picture.name}") as step:
        step.run([setup.venv() / "bin" / "python3", paths.ROOT / "tools" / "lab" / "measure" / "plot.py",
                  report, picture])


class _Story:
    """The guest's records so far: shown at once, kept for the report."""

    def __init__(self, which):
        self._which = which
        self._records = []
        self._screen = _Screen()

    def take(self, line) -> None:
        """Takes one line of the guest's output."""
        try:
            record = json.loads(line)
        except ValueError:
            record = {"type": "text", "text": line}
        self._records.append(record)
        self._screen.show(record)

    def report(self) -> dict:
        acts = self._acts()
        end = next(self._of("end"), {"kernel_log": ["the guest did not come to its end"]})
        about = next(self._of("kernel"), {})
        stalls = [stall for act in acts for stall in act["stalls"]]
        return {
            "modules": self._which,
            "kernel": about.get("release"),
            "ios": sum(act["ios"] for act in acts),
            "bytes_verified": sum(act["bytes_verified"] for act in acts),
            "errors": sum(act["errors"] for act in acts),
            "path_losses": sum(act["losses"] for act in acts),
            "longest_stall_ms": _longest(stalls),
            "slowest_io_ms": max((act["slowest_io_ms"] for act in acts), default=0),
            "kernel_log": end["kernel_log"],
            "loaded_modules": about.get("modules", []),
            "nvme_find_path_in_kallsyms": about.get("nvme_find_path"),
            "libmultipath_in_kallsyms": about.get("libmultipath"),
            "acts": acts,
        }

    def _of(self, kind):
        return (record for record in self._records if record["type"] == kind)

    def _acts(self) -> list:
        """The records, sorted into the acts that they belong to."""
        acts = []
        for record in self._records:
            kind = record["type"]
            if kind == "act":
                acts.append({"title": record["title"], "head": record["head"], "events": [], "samples": [],
                             "stalls": [], "ios": 0, "bytes_verified": 0, "errors": 0, "losses": 0, "slowest_io_ms": 0})
            elif kind == "io":
                acts[-1]["begin"] = record["t"]
            elif kind == "sample":
                acts[-1]["samples"].append({key: record[key] for key in ("t", "paths", "states")})
            elif kind == "stall":
                acts[-1]["stalls"].append((record["begin"], record["end"]))
            elif kind == "event":
                acts[-1]["events"].append({key: record[key] for key in ("t", "text", "loss")})
            elif kind == "settled":
                acts[-1]["events"][-1] |= {"settled": record["t"], "path": record["path"]}
            elif kind == "verified":
                acts[-1] |= {key: record[key] for key in ("ios", "bytes_verified", "errors", "losses", "slowest_io_ms")}
        for act in acts:
            _judge(act)
        return acts


def _judge(act) -> None:
    """Adds to an act the effect of its events on its paths, by its samples and stalls."""
    ends = [event["t"] for event in act["events"][1:]] + [float("inf")]
    for event, end in zip(act["events"], ends, strict=False):
        event["longest_stall_ms"] = _longest(
            (begin, stop) for begin, stop in act["stalls"] if stop > event["t"] and begin < end)
    totals = act["samples"][-1]["paths"] if act["samples"] else {}
    everything = sum(size for _, size in totals.values()) or 1
    act["paths"] = {address: {"ios": ios, "bytes": size, "share": round(size / everything, 3)}
                    for address, (ios, size) in totals.items()}


def _longest(stalls) -> int:
    return round(1000 * max((end - begin for begin, end in stalls), default=0))


class _Screen:
    """The terminal: events as lines; the loads of the paths as a table below them, or as a line a second."""

    def __init__(self):
        self._terminal = sys.stdout.isatty()
        self._table = 0  # lines of the table that is on the terminal now
        self._last = None
        self._shown = float("-inf")

    def show(self, record) -> None:
        getattr(self, f"_show_{record['type']}", lambda record: None)(record)

    def _show_act(self, record) -> None:
        self._last = None
        self._line(f"\n{record['head']}: {record['title']}")

    def _show_text(self, record) -> None:
        self._line(f"    {record['text']}")

    def _show_event(self, record) -> None:
        self._line(f"{record['t']:6.1f} s  >> {record['text']}")

    def _show_settled(self, record) -> None:
        self._line(f"{record['t']:6.1f} s     I/O runs on {record['path']}")

    def _show_stall(self, record) -> None:
        seconds = record["end"] - record["begin"]
        if seconds >= SHOWN_STALL_SECONDS:
            self._line(f"{record['end']:6.1f} s     I/O stood still for {seconds * 1000:.0f} ms")

    def _show_verifying(self, record) -> None:
        self._line(f"{record['t']:6.1f} s  reading back everything that was written")

    def _show_verified(self, record) -> None:
        self._line(f"{record['t']:6.1f} s  {record['ios']} I/Os, {record['bytes_verified'] >> 20} MiB verified, "
                   f"{record['errors']} errors")

    def _show_sample(self, record) -> None:
        last, self._last = self._last, record
        if last is None:
            return
        if self._terminal:
            self._erase()
            rows = [f"{'':10}{address:28} {speed}" for address, speed in _speeds(last, record)]
            print("\n".join(rows), flush=True)
            self._table = len(rows)
        elif record["t"] - self._shown >= 1:
            speeds = "  |  ".join(f"{address}: {speed}" for address, speed in _speeds(last, record))
            self._line(f"{record['t']:6.1f} s  {speeds}")
            self._shown = record["t"]

    def _line(self, text) -> None:
        self._erase()
        print(text, flush=True)

    def _erase(self) -> None:
        if self._table:
            print(f"\033[{self._table}A\033[J", end="")
            self._table = 0


def _speeds(last, record):
    """The load of each path between two samples, in words."""
    seconds = record["t"] - last["t"]
    for address, (ios, size) in record["paths"].items():
        ios_before, size_before = last["paths"].get(address, (0, 0))
        yield address, (f"{(size - size_before) / seconds / 1e6:5.1f} MB/s {(ios - ios_before) / seconds:6.0f} IOPS "
                        f"{record['states'][address]}")


def _summarize(report) -> None:
    """Prints the sum of it all, next to that of the other set of modules when there is one."""
    columns = [report]
    other = _report_of(COUNTERPARTS[report["modules"]])
    if other.exists():
        columns.append(json.loads(other.read_text()))
    rows = [("", *(f"{column['modules']} modules" for column in columns)),
            ("kernel", *(column["kernel"] for column in columns)),
            ("I/Os", *(column["ios"] for column in columns)),
            ("bytes verified", *(column["bytes_verified"] for column in columns)),
            ("errors", *(column["errors"] for column in columns)),
            ("path losses survived", *(column["path_losses"] for column in columns)),
            ("longest stall", *(f"{column['longest_stall_ms']} ms" for column in columns)),
            ("slowest I/O", *(f"{column.get('slowest_io_ms', '?')} ms" for column in columns))]
    print()
    for name, *values in rows:
        print(f"    {name:24}" + "".join(f"{value or 0!s:>18}" for value in values))
    for act in report["acts"]:
        print(f"\n    {act['head']}: {act['title']}")
        for address, path in act["paths"].items():
            print(f"        {address:28} {path['share']:6.1%} {path['bytes'] >> 20:6} MiB {path['ios']:8} I/Os")
        for event in act["events"]:
            print(f"        {event['t']:6.1f} s  {event['text']:44} stall {event['longest_stall_ms']:5} ms")
    print()
