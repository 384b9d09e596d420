"""The stack machine that a pickle is a program for, without imports, calls or attributes: see `pickles`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypertuner.checkpoint.format import stubs
from hypertuner.checkpoint.format.stubs import Global, Object

_MOST_DIGITS = 1000  # of a number written as text: reading it takes the square of its length


class Malformed(Exception):
    """The program of the pickle does what no pickler writes."""


class Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self, data: bytes, begin: int) -> None:
        self.data = data
        self.at = begin
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.encoded_bytes = 0
        self.root: Any = None

    def run(self, most_operations: int) -> None:
        """Run the program to its end."""
        data, operations = self.data, _OPERATIONS
        for _ in range(most_operations):
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                self.root = self.stack.pop()
                return
            operation = operations[code]
            if operation is None:
                raise Malformed(f"{chr(code)!r} is no operation that a model file needs")
            operation(self)
        raise Malformed(f"it takes more than {most_operations:,} operations")

    # Reading the program's own bytes.

    def take(self, count: int) -> bytes:
        """The next `count` bytes of the program."""
        # Checked against what is there before anything of that size is made.
        if count > len(self.data) - self.at:
            raise Malformed(f"it claims {count:,} bytes where {len(self.data) - self.at:,} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        """The next `count` bytes as an unsigned number."""
        return int.from_bytes(self.take(count), "little")

    def line(self) -> bytes:
        """The bytes up to the next end of line."""
        end = self.data.index(b"\n", self.at)
        text = self.data[self.at : end]
        self.at = end + 1
        return text

    def figures(self) -> bytes:
        """A line that spells a number, if it is not too long."""
        text = self.line()
        if len(text) > _MOST_DIGITS:
            raise Malformed("a number of too many digits")
        return text

    def integer(self) -> int:
        """A line that spells a whole number."""
        return int(self.figures().rstrip(b"L"))

    # The stack.

    def marked(self) -> list[Any]:
        """The items above the newest mark, taken off the stack with it."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def named(self, module: object, name: object) -> Global:
        """The stub for a global, remembered as one that would be imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("the name of a global is not text")
        known = self.globals.get((module, name))
        if known is None:
            known = self.globals[module, name] = Global(module, name)
        return known

    def call(self, callee: object, arguments: object) -> Any:
        """The stub for a call; a tensor's row for a call that makes one."""
        if type(arguments) is not tuple:
            raise Malformed("the arguments of a call are no tuple")
        if not isinstance(callee, Global):
            return Object(callee, arguments)
        # The one function that is carried out: protocol 2 has no bytes, so bytes travel as text.
        if (callee.module, callee.name) == ("_codecs", "encode"):
            return self.encoded(arguments)
        try:
            return stubs.call(callee, arguments)
        except stubs.ImpossibleTensorError as error:
            raise Malformed(str(error)) from None

    def encoded(self, arguments: tuple[Any, ...]) -> bytes:
        """The bytes that protocol 2 spells as latin-1 text."""
        if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
            raise Malformed("bytes that are not spelled as latin-1 text")
        # A pickler spells each object once. Encoding one text again and again is how a small file fills the memory.
        self.encoded_bytes += len(arguments[0])
        if self.encoded_bytes > len(self.data):
            raise Malformed("it makes more bytes than it has")
        return arguments[0].encode("latin-1")

    def persistent(self, tag: object) -> Any:
        """The stub for what lies beside the pickle."""
        try:
            return stubs.persistent(tag)
        except stubs.ImpossibleTensorError as error:
            raise Malformed(str(error)) from None

    def entries(self, items: list[Any]) -> None:
        """Put keys and values into the dict on top."""
        target = self.stack[-1]
        if isinstance(target, Object):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if type(target) is not dict or len(items) % 2:
            raise Malformed("it sets items of what is no dict")
        for place in range(0, len(items), 2):
            target[_key(items[place])] = items[place + 1]

    def elements(self, items: list[Any]) -> None:
        """Put items into the list or set on top."""
        target = self.stack[-1]
        if isinstance(target, Object):
            if target.elements is None:
                target.elements = []
            target = target.elements
        if type(target) is not list:
            raise Malformed("it appends to what is no list")
        target.extend(items)

    def build(self) -> None:
        """Give the object below its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        # State of a dict is what OrderedDict carries beside its items (torch's _metadata): nothing that is read here.
        if isinstance(target, Object) and target.state is None:
            target.state = state


def _key(value: object) -> Any:
    """`value` as a key of a dict: itself where hashing takes constant time, else an inert stand-in."""
    if value is None or type(value) in (str, bytes, bool, float):
        return value
    if type(value) is int and -(2**60) < value < 2**60:  # below the modulus of int's hash: no chosen collisions
        return value
    return Object("key", (value,))


_Operation = Callable[[Machine], None]
_OPERATIONS: list[_Operation | None] = [None] * 256


def _on(*codes: bytes) -> Callable[[_Operation], _Operation]:
    def register(operation: _Operation) -> _Operation:
        for code in codes:
            _OPERATIONS[code[0]] = operation
        return operation

    return register


def _push(code: bytes, make: Callable[[Machine], Any]) -> None:
    def operation(machine: Machine) -> None:
        value = make(machine)  # first: it may put another stack in place
        machine.stack.append(value)

    _OPERATIONS[code[0]] = operation


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


# Plain values. Text of Python 2 is kept as it is spelled: nothing that is looked at needs its escapes.
_push(b"N", lambda m: None)
_push(b"\x88", lambda m: True)
_push(b"\x89", lambda m: False)
_push(b"K", lambda m: m.number(1))
_push(b"M", lambda m: m.number(2))
_push(b"J", lambda m: int.from_bytes(m.take(4), "little", signed=True))
_push(b"\x8a", lambda m: int.from_bytes(m.take(m.number(1)), "little", signed=True))
_push(b"\x8b", lambda m: int.from_bytes(m.take(m.number(4)), "little", signed=True))
_push(b"L", lambda m: m.integer())
_push(b"I", lambda m: m.integer())
_push(b"F", lambda m: float(m.figures()))
_push(b"G", lambda m: struct.unpack(">d", m.take(8))[0])
_push(b"X", lambda m: _text(m.take(m.number(4))))
_push(b"\x8c", lambda m: _text(m.take(m.number(1))))
_push(b"\x8d", lambda m: _text(m.take(m.number(8))))
_push(b"V", lambda m: m.line().decode("raw-unicode-escape"))
_push(b"S", lambda m: m.line().strip(b"'\"").decode("latin-1"))
_push(b"T", lambda m: m.take(m.number(4)).decode("latin-1"))
_push(b"U", lambda m: m.take(m.number(1)).decode("latin-1"))
_push(b"B", lambda m: m.take(m.number(4)))
_push(b"C", lambda m: m.take(m.number(1)))
_push(b"\x8e", lambda m: m.take(m.number(8)))
_push(b"\x96", lambda m: m.take(m.number(8)))

# Containers.
_push(b")", lambda m: ())
_push(b"]", lambda m: [])
_push(b"}", lambda m: {})
_push(b"\x8f", lambda m: Object("set", ()))
_push(b"t", lambda m: tuple(m.marked()))
_push(b"l", lambda m: m.marked())
_push(b"\x91", lambda m: Object("frozenset", (), elements=m.marked()))
_push(b"\x85", lambda m: (m.stack.pop(),))
_push(b"\x86", lambda m: (m.stack.pop(), m.stack.pop())[::-1])
_push(b"\x87", lambda m: (m.stack.pop(), m.stack.pop(), m.stack.pop())[::-1])

# Names and memo.
_push(b"c", lambda m: m.named(_text(m.line()), _text(m.line())))
_push(b"2", lambda m: m.stack[-1])
_push(b"h", lambda m: m.memo[m.number(1)])
_push(b"j", lambda m: m.memo[m.number(4)])
_push(b"g", lambda m: m.memo[m.integer()])
_push(b"P", lambda m: m.persistent(_text(m.line())))
_push(b"Q", lambda m: m.persistent(m.stack.pop()))


@_on(b"\x80")
def _protocol(machine: Machine) -> None:
    if machine.number(1) > 5:
        raise Malformed("a protocol that does not exist yet")


@_on(b"\x95")
def _frame(machine: Machine) -> None:
    machine.take(8)


@_on(b"(")
def _mark(machine: Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


@_on(b"0")
def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.marked()


@_on(b"1")
def _pop_mark(machine: Machine) -> None:
    machine.marked()


@_on(b"q")
def _put_short(machine: Machine) -> None:
    machine.memo[machine.number(1)] = machine.stack[-1]


@_on(b"r")
def _put_long(machine: Machine) -> None:
    machine.memo[machine.number(4)] = machine.stack[-1]


@_on(b"p")
def _put_text(machine: Machine) -> None:
    place = machine.integer()
    if not 0 <= place < 2**32:
        raise Malformed("a place in the memo that is none")
    machine.memo[place] = machine.stack[-1]


@_on(b"\x94")
def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@_on(b"d")
def _dict(machine: Machine) -> None:
    items = machine.marked()
    machine.stack.append({})
    machine.entries(items)


@_on(b"s")
def _set_item(machine: Machine) -> None:
    value = machine.stack.pop()
    machine.entries([machine.stack.pop(), value])


@_on(b"u")
def _set_items(machine: Machine) -> None:
    machine.entries(machine.marked())


@_on(b"a")
def _append(machine: Machine) -> None:
    machine.elements([machine.stack.pop()])


@_on(b"e", b"\x90")
def _append_items(machine: Machine) -> None:
    machine.elements(machine.marked())


@_on(b"\x93")
def _stack_global(machine: Machine) -> None:
    name = machine.stack.pop()
    module = machine.stack.pop()
    machine.stack.append(machine.named(module, name))


@_on(b"R", b"\x81")
def _call(machine: Machine) -> None:
    arguments = machine.stack.pop()
    machine.stack.append(machine.call(machine.stack.pop(), arguments))


@_on(b"\x92")
def _call_with_keywords(machine: Machine) -> None:
    keywords, arguments = machine.stack.pop(), machine.stack.pop()
    callee = machine.stack.pop()
    if type(arguments) is not tuple:
        raise Malformed("the arguments of a call are no tuple")
    machine.stack.append(Object(callee, (*arguments, keywords)))


@_on(b"i")
def _instance(machine: Machine) -> None:
    callee = machine.named(_text(machine.line()), _text(machine.line()))
    arguments = tuple(machine.marked())
    machine.stack.append(Object(callee, arguments))


@_on(b"o")
def _object(machine: Machine) -> None:
    items = machine.marked()
    machine.stack.append(Object(items[0], tuple(items[1:])))


@_on(b"b")
def _build(machine: Machine) -> None:
    machine.build()
