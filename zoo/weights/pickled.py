"""The data in a pickle, without running anything of it.

This is a reader of our own because Python's calls what a file names, sets attributes of it, and
takes as much memory as a file asks for. Here `pickletools`, a part of Python, decodes the opcodes,
and what they build is inert: numbers, text, lists, tuples, dicts, and for everything else an object
made for that mention alone, which stands for what the file names.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

# A checkpoint of the largest model here, with its optimizer's state and an average, takes 400,000.
MAX_STEPS = 500_000
MAX_BYTES = 2**24
MAX_DEPTH = 100


class Global:
    """What a pickle names, such as "torch.FloatStorage"; only a name here."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<{shown(self.name)}>"


class Placeholder(dict):
    """What a pickle makes by calling a `Global`: the call itself, and the items set in it.

    Attributes:
      name: Name of the global.
      arguments: Arguments of the call.
      state: What its attributes would be set from, or None.
    """

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple):
        self.name, self.arguments, self.state = name, arguments, None

    def __repr__(self) -> str:
        return f"<{shown(self.name)}(...)>"


def load(
    file: BinaryIO,
    make: Callable[[str, tuple], Any],
    persistent: Callable[[Any], Any],
) -> Any:
    """Reads one pickle, of any protocol, and leaves the file behind its end.

    Args:
      file: Where to read from.
      make: What a call of a global is, from its name and arguments. It returns a `Placeholder` for
        what it does not know.
      persistent: What stands for a persistent id.

    Raises:
      ValueError: The pickle is damaged, too large, too deep, or uses what no data need.
    """
    machine = _Machine(make, persistent)
    for name, argument in _opcodes(file):
        machine.spend(1)
        action = _ACTIONS.get(name)
        if action is None:
            raise ValueError(f"its pickle has the opcode {name}, which no weights need")
        try:
            action(machine, argument)
        except (IndexError, KeyError):  # of the stack, or of the memo
            raise ValueError(f"its pickle is damaged, at an opcode {name}") from None
    if not machine.stack:
        raise ValueError("its pickle is damaged: it holds nothing")
    value = machine.pop()
    _check_depth(value)
    return value


def _opcodes(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yields name and argument of each opcode."""
    bounded: Any = _Bounded(file)  # what pickletools need of a file
    opcodes = pickletools.genops(bounded)
    while True:
        try:
            opcode, argument, _ = next(opcodes)
        except StopIteration:
            return
        except ValueError as error:
            raise ValueError(f"its pickle is damaged: {error}") from error
        yield opcode.name, argument


class _Bounded:
    """The two methods of a file that pickletools use, for `MAX_BYTES` at most."""

    def __init__(self, file: BinaryIO):
        self._file, self._left = file, MAX_BYTES

    def read(self, length: int) -> bytes:
        self._left -= length
        if self._left < 0:
            raise ValueError(f"it goes on for more than {MAX_BYTES >> 20} MiB")
        return self._file.read(length)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


class _Machine:
    """The stack on which a pickle builds its values."""

    def __init__(self, make: Callable[[str, tuple], Any], persistent: Callable[[Any], Any]):
        self.make, self.persistent = make, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def spend(self, steps: int) -> None:
        """Counts steps, so that no file takes more than a second."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ValueError(f"its pickle takes more than {MAX_STEPS:,} steps")

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls something that is no function")
        if function.name == "collections.OrderedDict":
            self.stack.append(OrderedDict())
            for pairs in arguments:  # as Python 2 writes them
                self.set_items([part for key, value in pairs for part in (key, value)])
            return
        self.spend(10)  # to make a tensor takes longer than any opcode
        self.stack.append(self.make(function.name, arguments))

    def set_items(self, items: list[Any]) -> None:
        """Sets keys and values, one after the other, in the dict on top of the stack.

        Entries whose keys are neither text nor numbers of 64 bits are left out: no tensor has such
        a name, and to hash nested tuples can take for ever.
        """
        self.spend(len(items))
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ValueError("its pickle sets items of something that is no dict")
        if len(items) % 2:
            raise ValueError("its pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) in (str, bool, float) or type(key) is int and abs(key) < 2**64:
                target[key] = value

    def extend(self, items: list[Any]) -> None:
        """Appends to the list on top of the stack; what a placeholder collects is dropped."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Placeholder):
            raise ValueError("its pickle appends to something that is no list")

    def set_state(self) -> None:
        """Keeps the state of a placeholder, and drops a state dict's: versions of its layers."""
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.state = state
        elif not isinstance(target, OrderedDict):
            raise ValueError("its pickle sets attributes of something that has none")


def _check_depth(value: Any) -> None:
    """Raises ValueError where containers are nested deeper than `MAX_DEPTH`."""
    level, seen = [value], set()
    for _ in range(MAX_DEPTH):
        inner = []
        for item in level:
            if isinstance(item, (dict, list, tuple)) and id(item) not in seen:
                seen.add(id(item))
                inner.extend(item.values() if isinstance(item, dict) else item)
        if not inner:
            return
        level = inner
    raise ValueError(f"its pickle is nested deeper than {MAX_DEPTH} levels")


def shown(name: str) -> str:
    """Returns a file's name for something, as it may stand in a message: short, and printable."""
    return name if len(name) < 80 and name.isprintable() else repr(name[:80])


def _replace_mark(make: Callable[[list], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make(machine.pop_to_mark()))


def _tuple_of(length: int) -> Callable[[_Machine, Any], None]:
    def action(machine: _Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(length)]
        machine.stack.append(tuple(reversed(items)))

    return action


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _put(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("its pickle names something by what is no text")
    machine.stack.append(Global(f"{module}.{name}"))


def _dict_of(machine: _Machine, _: Any) -> None:
    items = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(items)


def _call(machine: _Machine, _: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _call_with_keywords(machine: _Machine, _: Any) -> None:
    machine.pop()
    _call(machine, _)


def _call_marked(machine: _Machine, _: Any) -> None:
    function, *arguments = machine.pop_to_mark() or [None]
    machine.call(function, tuple(arguments))


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _nothing(machine: _Machine, _: Any) -> None:
    """Of opcodes that only say how the rest is written."""


_DECODED = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8"
)
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(_DECODED.split(), _push),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),  # what is in a set must be hashed
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "LIST": _replace_mark(list),
    "TUPLE": _replace_mark(tuple),
    "FROZENSET": _replace_mark(list),
    "DICT": _dict_of,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "GLOBAL": lambda machine, name: machine.stack.append(Global(name.replace(" ", "."))),
    "STACK_GLOBAL": _stack_global,
    "INST": lambda machine, name: machine.call(
        Global(name.replace(" ", ".")), tuple(machine.pop_to_mark())
    ),
    "OBJ": _call_marked,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_keywords,
    "BUILD": lambda machine, _: machine.set_state(),
    "PERSID": lambda machine, name: machine.stack.append(machine.persistent(name)),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(machine.pop())),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
}
