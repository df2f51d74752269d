# SPDX-License-Identifier: GPL-2.0
"""The orders of atomic accesses, read out of the Rust source: each function's accesses to memory that threads share.

tests/litmus/orders lists functions, and for each its calls that matter, in the order of the source, with the ordering
of each atomic access. `differences()` compares that with the source. So nobody takes a barrier out of a listed
function, adds an access or changes `rust/pure/sync.rs` without learning which litmus tests to look at.

This is no compiler. It reads calls and their arguments, and takes branches in the order of the text: it sees that a
call is in one, but not under which condition. The list says by hand which function a call leads to (`lot.push >
LocklessList::push`). It sees when a lock is taken, not its release at the end of a block.
"""

import re
from dataclasses import dataclass
from functools import cache as once

from lab.builds import source
from lab.host import log
from lab.host import paths

LIST = paths.ROOT / "tests" / "litmus" / "orders"
_SYNC = "rust/pure/sync.rs"
#: The list's name for the kernel's source.
_KERNEL_TREE = "linux/"

#: The effect of calls of these names, in the words for an access. They count wherever a listed function makes them.
KINDS = {"load": "load", "load_relaxed": "load", "dereference": "load", "store": "store", "store_relaxed": "store",
         "swap": "change", "xchg": "change", "cmpxchg": "change", "try_cmpxchg": "change", "fetch_add": "change",
         "fetch_sub": "change", "add": "change", "inc": "change", "dec_and_test": "change", "full_barrier": "barrier",
         "smp_mb": "barrier", "smp_rmb": "barrier", "smp_wmb": "barrier", "lock": "lock",
         "try_lock": "lock"}
#: Names that much else has, too: calls that count only if their receiver is known to be atomic.
_AMBIGUOUS = {"add", "inc", "swap"}
#: The kernel's own orderings of its `refcount_t`, which rust/pure/sync.rs uses: a release, with an acquire after the
#: last.
_REFCOUNT = {"inc": "relaxed", "dec_and_test": "release"}
_ORDERING = re.compile(r"\b(Relaxed|Acquire|Release|Full)\s*$")

_CALL = re.compile(r"(?<![\w!])([a-z_]\w*)(?:::<[^()]*?>)?\(")
_FUNCTION = re.compile(r"\bfn (\w+)")
_TYPE = r"\b([A-Z]\w*)(?:<(?:[^{;<>]|<[^<>]*>)*>)?"
_IMPL = re.compile(rf"^ *(?:unsafe )?impl\b[^{{;]*?(?:{_TYPE} for )?{_TYPE}\s*(?:where[^{{]*)?\{{", re.MULTILINE)
_OFF = re.compile(r"#\[cfg\((?:not\(CONFIG_RUST\)|test|all\(test.*?\))\)\][^;{]*[;{]")
_CLOSURE = re.compile(r"\s*(?:move\s+)?\|[^|]*\|")
_ENTRY = re.compile(r"^\t(\S+): (.+)$")
_FILE = re.compile(r"^(\S+\.rs)(?: \((.*)\))?$")
_ITEM = re.compile(r"\s*(if )?([\w.:]+)(?: ([a-z]+))?( -)?(?: > ([\w:]+))?\s*")
_BRANCH = re.compile(r"\b(?:if|match|else)\b")
_KEYWORDS = {"if", "match", "while", "for", "in", "return", "let", "as", "fn", "move", "unsafe", "impl", "pub"}


@dataclass(frozen=True)
class Call:
    """A call in a function."""

    #: The receiver's last word and the method, or the function's name.
    name: str
    #: Relaxed, acquire, release, full or lock; empty for a call that is no access itself.
    ordering: str
    #: Whether it is in a branch.
    conditional: bool = False
    #: Whether no test has the call.
    untested: bool = False
    #: The listed function that it leads to.
    target: str = ""
    #: The calls in the closure that it is given.
    inside: tuple = ()

    def __str__(self) -> str:
        words = ("if " if self.conditional else "") + self.name + (f" {self.ordering}" if self.ordering else "")
        return words + (f" {{ {render(self.inside)} }}" if self.inside else "")


@dataclass(frozen=True)
class Access:
    """An access of a thread that runs a listed function."""

    function: str
    call: str
    ordering: str

    @property
    def kind(self) -> str:
        return KINDS.get(self.call.rpartition(".")[2], "")

    def __str__(self) -> str:
        return f"{self.function}: {self.call}"


@dataclass(frozen=True)
class Listed:
    """A function in the list."""

    file: str
    calls: tuple
    #: The types of names that the source does not state.
    types: dict


def render(calls: tuple) -> str:
    """Calls in the list's form, without words that are not in the source."""
    return ", ".join(map(str, calls))


@once
def listed() -> dict:
    """The functions of tests/litmus/orders by their names."""
    found, file, types = {}, "", {}
    for number, line in enumerate(LIST.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if head := _FILE.match(line):
            file = head[1]
            types = dict(re.findall(r"(\w+): (\w+)", head[2] or ""))
        elif (entry := _ENTRY.match(line)) and file:
            calls, rest = _parse_items(entry[2])
            if rest or entry[1] in found:
                log.fail(f"{LIST.name}:{number}: cannot be read, or is there twice")
            found[entry[1]] = Listed(file, calls, types)
        else:
            log.fail(f"{LIST.name}:{number}: neither a file nor a function")
    for name, function in found.items():
        for call in _all(function.calls):
            if call.target and call.target not in found:
                log.fail(f"{LIST.name}: {name} leads to {call.target}, which is not listed")
    return found


def _parse_items(text: str) -> tuple:
    """The calls that a line lists, and the rest of the line."""
    calls = []
    while item := _ITEM.match(text):
        text, inside = text[item.end():], ()
        if text.startswith("{"):
            inside, text = _parse_items(text[1:])
            if not text.startswith("}"):
                return tuple(calls), "}"
            text = text[1:].lstrip()
        calls.append(Call(item[2], item[3] or "", bool(item[1]), bool(item[4]), item[5] or "", inside))
        if not text.startswith(","):
            break
        text = text[1:]
    return tuple(calls), text


def _all(calls: tuple):
    for call in calls:
        yield call
        yield from _all(call.inside)


def accesses(names: list) -> list:
    """The accesses of a thread that runs these functions one after the other."""
    for name in names:
        if name not in listed():
            log.fail(f"{LIST.name} does not list {name}")
    return [access for name in names for access in _expand(name, lambda: [])]


def owed() -> set:
    """The listed accesses, each of which has to be in a test."""
    return {Access(name, call.name, call.ordering) for name, function in listed().items()
            for call in _all(function.calls) if call.ordering and not call.untested}


def functions(names) -> set:
    """These functions, and those that they lead to."""
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [call.target for call in _all(listed()[name].calls) if call.target]
    return found


def _expand(name: str, argument) -> list:
    """The accesses of a function whose caller's closure is expanded by `argument`."""
    def run(calls: tuple) -> list:
        found = []
        for call in calls:
            if call.target:
                found += _expand(call.target, lambda inside=call.inside: run(inside))
            else:
                found.append(Access(name, call.name, call.ordering))
                found += run(call.inside) if call.inside else [] if call.ordering else argument()
        return found
    return run(listed()[name].calls)


@once
def differences() -> dict:
    """The fault of each function whose source differs from the list."""
    wrong = {}
    for name, function in listed().items():
        try:
            calls = calls_of(name, function)
        except LookupError as error:
            wrong[name] = str(error)
            continue
        said = render(function.calls)
        if said != render(calls):
            wrong[name] = f"is listed as `{said}`, and {function.file} has `{render(calls)}`"
    return wrong


def calls_of(name: str, function: Listed) -> tuple:
    """The calls in a function's source that are accesses, or that the list has for any function of the file."""
    names = {call.name for other in listed().values() if other.file == function.file for call in _all(other.calls)}
    return _Reader(name, function, names).calls()


class _Reader:
    """Reads one function."""

    def __init__(self, name: str, function: Listed, names: set):
        self.file, self.types, self.names = function.file, function.types, names
        self.owner = name.rpartition("::")[0]
        self.signature, self.body = _function(_text(self.file), name)

    def calls(self) -> tuple:
        return tuple(self._read(self.body))

    def _read(self, text: str) -> list:
        found, at, branches = [], 0, _branches(text)
        while call := _CALL.search(text, at):
            end = _closing(text, call.end() - 1)
            arguments = _split(text[call.end():end])
            at = end + 1
            closures = [argument for argument in arguments if _CLOSURE.match(argument)]
            for argument in arguments:
                if argument not in closures:
                    found += self._read(argument)
            inside = [inner for closure in closures for inner in self._read(closure[_CLOSURE.match(closure).end():])]
            if call[1] in _KEYWORDS:
                found += inside
                continue
            receiver = _receiver(text, call.start())
            name = f"{receiver}.{call[1]}" if receiver else call[1]
            ordering = self._ordering(receiver, call[1], arguments)
            is_access = call[1] in KINDS and (ordering or call[1] not in _AMBIGUOUS)
            if is_access or name in self.names:
                conditional = any(begin < call.start() < end for begin, end in branches)
                found.append(Call(name, ordering, conditional, inside=tuple(inside)))
            else:
                found += inside
        return found

    def _ordering(self, receiver: str, method: str, arguments: list) -> str:
        """The ordering of an access; empty for a call that is none or leads to another function."""
        if method not in KINDS:
            return ""
        if arguments and (said := _ORDERING.search(arguments[-1])):
            return said[1].lower()
        if method in ("lock", "try_lock"):
            return "lock"
        if method == "full_barrier":
            return _wrapper("full_barrier")
        kind = self._type(receiver)
        return _wrapper(f"{kind}::{method}") if kind in _wrappers() else ""

    def _type(self, receiver: str) -> str:
        """The type that a receiver is declared with, in the list, in the signature or in the file."""
        text = _text(self.file)
        if receiver in self.types:
            return self.types[receiver]
        if receiver == "self":
            return self.owner
        if receiver == "0":
            declared = re.search(rf"struct {self.owner}(?:<[^;(]*>)?\(\s*(?:pub )?([\w:]+)", text)
        else:
            pattern = re.compile(rf"\b{re.escape(receiver or '-')}: (?:&(?:'\w+ )?)?(\w+)")
            declared = pattern.search(self.signature) or pattern.search(text)
        return declared[1].rpartition(":")[2] if declared else ""


@once
def _wrappers() -> set:
    """The types of rust/pure/sync.rs."""
    return set(re.findall(r"^    pub struct (\w+)", _text(_SYNC), re.MULTILINE))


@once
def _wrapper(name: str) -> str:
    """The ordering of a function of rust/pure/sync.rs."""
    _, body = _function(_text(_SYNC), name)
    method = name.rpartition("::")[2]
    for call in _CALL.finditer(body):
        arguments = _split(body[call.end():_closing(body, call.end() - 1)])
        if arguments and (said := _ORDERING.search(arguments[-1])):
            return said[1].lower()
        if call[1] == method and method in _REFCOUNT:
            return _REFCOUNT[method]
    return ""


@once
def _text(file: str) -> str:
    """The code of a file that a kernel has."""
    path = source.kernel().tree / file.removeprefix(_KERNEL_TREE) if file.startswith(_KERNEL_TREE) else paths.ROOT / file
    if not path.exists():
        raise LookupError(f"{file} does not exist")
    text = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', re.sub(r"//.*", "", path.read_text()))
    while off := _OFF.search(text):
        end = _closing(text, off.end() - 1) + 1 if off[0].endswith("{") else off.end()
        text = text[:off.start()] + text[end:]
    return re.sub(r"\s*\n\s*\.(?=\w)", ".", text)


def _function(text: str, name: str) -> tuple:
    """The signature and the body of a function, which is in an `impl` of its type, or of its trait, if its name has one."""
    owner, _, plain = name.rpartition("::")
    blocks = [(impl.end() - 1, _closing(text, impl.end() - 1), impl.groups()) for impl in _IMPL.finditer(text)]
    for function in _FUNCTION.finditer(text):
        inside = next((names for begin, end, names in reversed(blocks) if begin < function.start() < end), ("",))
        begin, ending = text.find("{", function.end()), text.find(";", function.end())
        if function[1] == plain and owner in inside and not 0 <= ending < begin:
            return text[function.end():begin], text[begin + 1:_closing(text, begin)]
    raise LookupError("is not there any more")


def _closing(text: str, at: int) -> int:
    """Where the bracket at `at` is closed."""
    depth = 0
    for end in range(at, len(text)):
        depth += (text[end] in "([{") - (text[end] in ")]}")
        if depth == 0:
            return end
    raise LookupError("has brackets that are not closed")


def _branches(text: str) -> list:
    """Where the branches of `if` and `match` begin and end."""
    found = []
    for branch in _BRANCH.finditer(text):
        at, depth = branch.end(), 0
        while at < len(text) and (depth or text[at] != "{"):
            depth += (text[at] in "([{") - (text[at] in ")]}")
            at += 1
        if at < len(text):
            found.append((at, _closing(text, at)))
    return found


def _split(text: str) -> list:
    """Arguments, by the commas between them."""
    found, depth, begin, bars = [], 0, 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        bars += letter == "|" and depth == 0
        if letter == "," and depth == 0 and bars % 2 == 0:
            found.append(text[begin:at])
            begin = at + 1
    last = text[begin:]
    return found + [last] if last.strip() else found


def _receiver(text: str, at: int) -> str:
    """The last word of the receiver of a method at `at`; the qualifier of a function that has one."""
    if text[at - 2:at] == "::":
        return ""
    if text[at - 1:at] != ".":
        return ""
    end = at - 1
    while end and text[end - 1] in ")]}":
        end = _opening(text, end - 1)
    return re.search(r"(\w*)$", text[:end])[1] or "_"


def _opening(text: str, at: int) -> int:
    depth = 0
    for begin in range(at, -1, -1):
        depth += (text[begin] in ")]}") - (text[begin] in "([{")
        if depth == 0:
            return begin
    raise LookupError("has brackets that are not opened")
