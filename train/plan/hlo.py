"""Reads collectives and HBM traffic from the text of a compiled program.

XLA's text has one instruction per line, `%name = type opcode(%operand, ...), attributes`. Arrays
are written `bf16[128,56,56,64]{3,0,2,1:T(8,128)(2,1)S(1)}`, where S(1) is memory on the chip and no
S(...) is HBM.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# Instructions that move no data.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
FREE |= {"optimization-barrier", "partition-id", "replica-id", "domain"}
# Instructions that call other functions, whose instructions are counted.
CALLS = {"while", "conditional", "call", "async-start"}

SLICES = ("slice", "dynamic-slice", "gather")

_LINE = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)")
_ARRAY = re.compile(r"\b([a-z]+)(\d+)?(?:e\d\w*)?\[([\d,]*)\](?:\{([^{}]*)\})?")
_CALLED = re.compile(
    r"(?:body|calls|to_apply|branch_computations|true_computation|false_computation)=\{?"
)


class Instruction(NamedTuple):
    """One line of the text.

    Attributes:
      name, opcode: as in the text.
      type: type of the result: an array, or a tuple of arrays in parentheses.
      operands: names of instructions.
      rest: the text after the operands; if there are none, the text in the parentheses too.
    """

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str


class Collective(NamedTuple):
    """A collective operation.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: bytes of the array on each device: the larger side of a gather or scatter.
      devices: number of devices in each group.
    """

    kind: str
    size: int
    devices: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends in a ring algorithm."""
        share = (self.devices - 1) / self.devices
        if self.kind == "all-reduce":
            return 2 * share * self.size  # a reduce-scatter and an all-gather
        if self.kind in ("collective-permute", "collective-broadcast"):
            return float(self.size)
        return share * self.size


def computations(text: str) -> dict[str, list[Instruction]]:
    """Returns the program's functions by name; "ENTRY" is the one that is called."""
    found, current = {}, None
    for line in text.splitlines():
        if line and not line[0].isspace():
            head = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
            current = found.setdefault("ENTRY" if head[1] else head[2], []) if head else None
        elif current is not None and (match := _LINE.match(line)):
            current.append(_instruction(*match.groups()))
    return found


def collectives(text: str, num_devices: int) -> list[Collective]:
    """Returns all collectives of a program; those in a loop are counted once.

    Args:
      text: of the compiled program.
      num_devices: of the program, for collectives whose text has no groups.
    """
    found = []
    for instructions in computations(text).values():
        types = {instruction.name: instruction.type for instruction in instructions}
        for instruction in instructions:
            kind = instruction.opcode.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            before = sum(array_bytes(types[each]) for each in instruction.operands if each in types)
            after = array_bytes(instruction.type)
            if kind != instruction.opcode and after > before:
                after -= before  # the result of a start includes its operands
            size = before if kind == "all-reduce" else max(before, after)
            found.append(Collective(kind, size, _group_size(instruction.rest, num_devices)))
    return found


def hbm_bytes(text: str) -> int:
    """Returns the bytes that a program reads from and writes to HBM; a loop's body counts once.

    As in XLA's own "bytes accessed", each instruction reads its operands and writes its result. But
    arrays that the compiler keeps on the chip are not counted, and of an array that is sliced only
    the slice is.
    """
    functions = computations(text)
    return sum(_traffic(functions[name], functions) for name in _called_functions(functions))


def array_bytes(type_: str, hbm_only: bool = False) -> int:
    """Returns the bytes of an array type, or of all arrays of a tuple type."""
    return sum(size for size, in_hbm in _arrays(type_) if in_hbm or not hbm_only)


def _arrays(type_: str) -> Iterator[tuple[int, bool]]:
    """(bytes, in HBM) of each array."""
    for kind, bits, shape, layout in _ARRAY.findall(type_):
        if kind == "token":
            continue
        size = 1
        for length in filter(None, shape.split(",")):
            size *= int(length)
        yield size * int(bits or 8) // 8, "S(" not in layout  # pred has no bits, and takes a byte


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    type_, text = text[:end], text[end:].lstrip()
    start = text.index("(")
    end = _closing(text, start)
    operands = tuple(re.findall(r"%([\w.\-]+)", text[start:end]))
    rest = text[start + 1 :] if not operands else text[end + 1 :]
    return Instruction(name, type_, text[:start], operands, rest)


def _closing(text: str, start: int) -> int:
    """The index of the parenthesis that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"No closing parenthesis in {text[start : start + 80]!r}")


def _group_size(rest: str, num_devices: int) -> int:
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]", rest):
        return int(match[2])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return len(match[1].split(","))
    return num_devices


def _called_functions(functions: dict[str, list[Instruction]]) -> list[str]:
    """Names of the entry and of all functions that it calls; not of the insides of fusions."""
    reached, new = [], ["ENTRY"]
    while new:
        name = new.pop()
        if name in reached or name not in functions:
            continue
        reached.append(name)
        for instruction in functions[name]:
            if instruction.opcode in CALLS:
                for start in _CALLED.finditer(instruction.rest):
                    names = re.match(r"[%\w.\-, ]*", instruction.rest[start.end() :])
                    new += re.findall(r"%([\w.\-]+)", names[0] if names else "")
    return reached


def _traffic(instructions: list[Instruction], functions: dict) -> int:
    types = {instruction.name: instruction.type for instruction in instructions}
    total = 0
    for instruction in instructions:
        opcode = instruction.opcode
        if opcode in FREE | CALLS or opcode.endswith(("-done", "-update")):
            continue
        read = [types[operand] for operand in instruction.operands if operand in types]
        if opcode == "slice-start":  # written ((source), slice, ...)
            (_, from_hbm), (size, to_hbm) = list(_arrays(instruction.type))[:2]
            total += size * (from_hbm + to_hbm)
        elif opcode == "copy-start":  # written (target, source, ...)
            total += sum(size for size, in_hbm in list(_arrays(instruction.type))[:2] if in_hbm)
        else:
            total += array_bytes(instruction.type, hbm_only=True)
            parts = _parts_read(instruction, functions)
            total += sum(
                min(size, parts.get(number, size))
                for number, size in enumerate(array_bytes(type_, hbm_only=True) for type_ in read)
            )
    return total


def _parts_read(instruction: Instruction, functions: dict) -> dict[int, int]:
    """Bytes read of operands, by number, from which only slices or rows are read."""
    if instruction.opcode in SLICES:
        return {0: array_bytes(instruction.type)}
    called = re.search(r"calls=%([\w.\-]+)", instruction.rest)
    if instruction.opcode != "fusion" or called is None:
        return {}
    body, parts = functions.get(called[1], []), {}
    for parameter in body:
        number = re.match(r"(\d+)\)", parameter.rest) if parameter.opcode == "parameter" else None
        users = [user for user in body if parameter.name in user.operands]
        if (
            number
            and users
            and all(user.opcode in SLICES and user.operands[0] == parameter.name for user in users)
        ):
            parts[int(number[1])] = sum(array_bytes(user.type) for user in users)
    return parts
