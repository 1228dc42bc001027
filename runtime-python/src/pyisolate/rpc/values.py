"""Values: the closed text form of docs/protocol.md, from Python objects and back.

Must not know sessions or tensors: an array passes through a ValueExtension.
Nothing a peer sends names a class to construct.
"""

from __future__ import annotations

import json
import re

from ..errors import PyisolateError
from .frame import violation
from .kinds import MAX_INTEGER, NESTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol

    from typing_extensions import TypeGuard

    OnEnd = Callable[[], object]

    class Sink(Protocol):
        """Takes what travels beside the text of a message.

        Attributes:
            may_wait: False in an event loop's thread: an `encode` that would have to wait raises MustWait instead, and
                is called again where it may.
        """

        @property
        def may_wait(self) -> bool: ...

        def attach(self, data: memoryview) -> int:
            """Borrows the bytes until the message is sent; gives the index to put into the text."""

        def copied(self, nbytes: int, route: str) -> None:
            """Says that bytes of a tensor were copied for this message, and by which route."""

        def lease(self, on_end: OnEnd) -> int:
            """Opens a lease of this side and gives its id, to be put into the text.

            `on_end` is called once, in any thread: when the peer releases it, when the connection ends, or at once when
            the message is not sent after all.
            """

    class Source(Protocol):
        """What came beside the text of a message. Both methods raise PROTOCOL_VIOLATION."""

        def take(self, index: Any) -> memoryview:
            """The attachment of an index, once, for keeps."""

        def hold(self, id: Any) -> Callable[[], None]:
            """Begins to use a lease of the peer. Gives what to call when the last view of it is gone.

            That sends release, once, while the connection lives. It may be called in any thread, from a finalizer too,
            and waits for nothing.
            """

    class ValueExtension(Protocol):
        """Values that have a tag of their own, such as arrays.

        A worker's extension that takes segments has two methods more, called by the thread that reads:
        `on_attach(id: int, nbytes: int, writable: bool, path: str | None)`: the peer has made a segment, which `id`
        names; `on_give_back(id: int)`: it wants it back; `Peer.release(id)` as soon as nothing uses it. Comes once.
        """

        #: The tags it decodes, e.g. "$tensor".
        tags: frozenset[str]

        def encode(self, value: Any, sink: Sink) -> Any:
            """The JSON form of `value` (an object with one tag, or a scalar); NotImplemented when it is none of it."""

        def decode(self, tag: str, payload: Any, source: Source) -> Any:
            """The value. Raises PROTOCOL_VIOLATION."""


class MustWait(Exception):  # noqa: N818 (nothing went wrong)
    """Raised by an extension's `encode` that would have to wait where `Sink.may_wait` is False."""


class Transfer:
    """What it took to send the values of a message.

    Attributes:
        routes: Each once.
        leases: Opened for the message.
    """

    __slots__ = ("bytes_copied", "leases", "routes")

    def __init__(self) -> None:
        self.bytes_copied = 0
        self.routes: list[str] = []
        self.leases: list[int] = []


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _read_number(text: str) -> int | float:
    """A number that JSON writes with fraction or exponent; without fraction in value it is an integer."""
    number = float(text)
    if number.is_integer() and abs(number) <= MAX_INTEGER:
        return int(number)
    if number.is_integer() or abs(number) == _INFINITY:
        raise violation(f"bare number {number}")
    return number


def _json_encoder() -> Callable[[Any, int], Iterable[str]]:
    """What JSONEncoder.encode makes anew for every text; the 0 is the level of indentation."""
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda tree, _: encoder.iterencode(tree)
    to_string = json.encoder.encode_basestring
    return make(None, encoder.default, to_string, None, ":", ",", False, False, False)  # type: ignore[no-any-return]


_INFINITY = float("inf")
_ENCODE_JSON = _json_encoder()
_SCAN_JSON = json.JSONDecoder(parse_float=_read_number, parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]
_SPACE = " \t\n\r"

#: Digits, `$` and `_` as 0. Then a quote before a 0 may begin a tag or a key that is not plain, and sixteen 0 in a row
#: may be an integer beyond 2**53.
_ODD_AS_ZERO = bytes(48 if chr(char) in "0123456789$_" else char for char in range(256))
_LONG_NUMBER = "0" * 16
_INTEGER = re.compile(r"-?0x[1-9a-f][0-9a-f]*").fullmatch
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?").fullmatch
_NAMED_FLOATS = {"inf": float("inf"), "-inf": float("-inf")}
_FLOAT_CHARS = 32
_NOT_PLAIN_START = frozenset(["", *"$_0123456789"])


def write_text(tree: Any) -> bytes:
    """JSON text of an encoded tree; lone surrogates become escapes."""
    return "".join(_ENCODE_JSON(tree, 0)).encode("utf-8", "backslashreplace")


def read_object(body: bytes | bytearray) -> tuple[dict[str, Any], bool]:
    """One JSON object, and whether its values need `Decoder` (False: they are what they look like).

    Raises: PyisolateError PROTOCOL_VIOLATION.
    """
    try:
        text = body.decode().strip(_SPACE)
        tree, end = _SCAN_JSON(text, 0)
    except (ValueError, StopIteration, RecursionError) as error:
        raise violation(f"a body that is no JSON object: {error}") from None
    if end != len(text) or type(tree) is not dict:
        raise violation("a body that is not one JSON object")
    if len(body) > NESTING and text.count("[") + text.count("{") > NESTING and _is_deeper(tree, NESTING):
        raise violation(f"a body nested deeper than {NESTING}")
    mapped = body.translate(_ODD_AS_ZERO).decode("latin-1")
    return tree, '"0' in mapped or '""' in mapped or "\\u" in mapped or _LONG_NUMBER in mapped


def _is_deeper(tree: Any, limit: int) -> bool:
    level = [tree]
    for _ in range(limit):
        below = []
        for container in level:
            items = container.values() if type(container) is dict else container
            below += [item for item in items if type(item) is dict or type(item) is list]
        if not below:
            return False
        level = below
    return True


def is_plain_key(key: str) -> bool:
    return key[:1] not in _NOT_PLAIN_START


def is_count(value: Any) -> TypeGuard[int]:
    """A number of JSON that is an integer ≥ 0; true is no number."""
    return type(value) is int and value >= 0


class Encoder:
    """Encodes the values of one message; it is the Sink of its extension.

    Attributes:
        attachments: Borrowed from the values.
        transfer: What it took; None: nothing.
    """

    __slots__ = ("_extension", "_open_lease", "attachments", "transfer")
    may_wait = True

    def __init__(
        self, extension: ValueExtension | None = None, open_lease: Callable[[OnEnd], int] | None = None
    ) -> None:
        """Without `open_lease` there can be no leases."""
        self._extension = extension
        self._open_lease = open_lease
        self.attachments: list[memoryview] = []
        self.transfer: Transfer | None = None

    def value(self, value: Any, depth: int = 1) -> Any:
        """The JSON form. `depth`: arrays and objects around it. Raises VALUE_UNSUPPORTED."""
        kind = type(value)
        if value is None or kind is str or kind is bool:
            return value
        if kind is int:
            return value if -MAX_INTEGER <= value <= MAX_INTEGER else {"$int": hex(value)}
        if kind is float:
            return _encode_float(value)
        if depth >= NESTING:
            raise PyisolateError("VALUE_UNSUPPORTED", f"a value is nested deeper than the wire allows ({NESTING})")
        if kind is list:
            encoded = []
            for item in value:
                encoded.append(item if type(item) is str else self.value(item, depth + 1))
            return encoded
        if kind is dict:
            return self._dict(value, depth)
        if kind is tuple:
            return {"$tuple": [self.value(item, depth + 2) for item in value]}
        return self._other(value, depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        for key in value:
            if type(key) is not str or key[:1] in _NOT_PLAIN_START:
                return self._other_dict(value, depth)
        encoded = {}
        for key, item in value.items():
            encoded[key] = item if item is None or type(item) is str else self.value(item, depth + 1)
        return encoded

    def _other_dict(self, value: dict[Any, Any], depth: int) -> Any:
        """A dict with a key that is no plain string, or of a subclass of str."""
        if all(isinstance(key, str) and is_plain_key(key) for key in value):
            return self._dict({str.__str__(key): item for key, item in value.items()}, depth)
        pairs = value.items()
        return {"$dict": [[self._key(key, depth + 3), self.value(item, depth + 3)] for key, item in pairs]}

    def _key(self, key: Any, depth: int) -> Any:
        if key is None or isinstance(key, (bool, int, float, str, bytes)):
            return self.value(key, depth)
        if isinstance(key, tuple):
            return {"$tuple": [self._key(item, depth + 2) for item in key]}
        raise _unsupported(key, "as a key of a dict or an element of a set")

    def _other(self, value: Any, depth: int) -> Any:
        """Bytes, sets, subclasses of the above (they travel as what they derive from), and what the extension knows."""
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": self.attach(memoryview(value))}
        if isinstance(value, (set, frozenset)):
            return {"$set": [self._key(item, depth + 2) for item in value]}
        if self._extension is not None:
            encoded = self._extension.encode(value, self)
            if encoded is not NotImplemented:
                return encoded
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return self.value(int(value), depth)
        if isinstance(value, float):
            return _encode_float(float(value))
        if isinstance(value, list):
            return self.value(list(value), depth)
        if isinstance(value, tuple):
            return self.value(tuple(value), depth)
        if isinstance(value, dict):
            return self.value(dict(value), depth)
        raise _unsupported(value, "on the wire")

    def attach(self, data: memoryview) -> int:
        self.attachments.append(data)
        return len(self.attachments) - 1

    def copied(self, nbytes: int, route: str) -> None:
        transfer = self._note()
        transfer.bytes_copied += nbytes
        if route not in transfer.routes:
            transfer.routes.append(route)

    def lease(self, on_end: OnEnd) -> int:
        if self._open_lease is None:
            raise RuntimeError("a lease without a connection")
        id = self._open_lease(on_end)
        self._note().leases.append(id)
        return id

    def _note(self) -> Transfer:
        if self.transfer is None:
            self.transfer = Transfer()
        return self.transfer


class LoopEncoder(Encoder):
    """In an event loop's thread."""

    __slots__ = ()
    may_wait = False


def _encode_float(value: float) -> Any:
    if value != value:
        return {"$float": "nan"}
    if abs(value) == _INFINITY:
        return {"$float": "inf" if value > 0 else "-inf"}
    if value.is_integer():
        text = repr(value)
        return {"$float": text[:-2] if text.endswith(".0") else text}
    return value


def _unsupported(value: Any, where: str) -> PyisolateError:
    kind = type(value)
    return PyisolateError(
        "VALUE_UNSUPPORTED",
        f"a value of type {kind.__module__}.{kind.__qualname__} has no form {where}",
        next="Pass numbers, text, bytes, lists, tuples, sets, dicts, arrays or tensors.",
    )


def _refuse_lease(id: Any) -> Any:
    raise violation(f"lease {id!r} where there can be none")


class Decoder:
    """Decodes the values of one message; it is the Source of its extension.

    Attributes:
        hold: As in Source.
    """

    __slots__ = ("_attachments", "_extension", "_is_taken", "hold")

    def __init__(
        self,
        attachments: Sequence[memoryview] = (),
        extension: ValueExtension | None = None,
        hold: Callable[[Any], Callable[[], None]] = _refuse_lease,
    ) -> None:
        """Hands out the attachments, each exactly once."""
        self._attachments = attachments
        self._extension = extension
        self.hold = hold
        self._is_taken = [False] * len(attachments)

    def finish(self) -> None:
        """Raises PROTOCOL_VIOLATION when an attachment was named by no value."""
        if not all(self._is_taken):
            raise violation(f"attachment {self._is_taken.index(False)} is named by no value")

    def value(self, tree: Any) -> Any:
        """The value of a JSON tree. Raises PROTOCOL_VIOLATION."""
        kind = type(tree)
        if kind is str or kind is bool or kind is float or tree is None:
            return tree
        if kind is int:
            if not -MAX_INTEGER <= tree <= MAX_INTEGER:
                raise violation(f"bare number {tree}")
            return tree
        if kind is list:
            return [self.value(item) for item in tree]
        if len(tree) == 1:
            ((key, payload),) = tree.items()
            if key[:1] == "$":
                return self._tagged(key, payload)
        for key in tree:
            if not is_plain_key(key):
                raise violation(f"an object with the key {key!r}")
        return {key: self.value(item) for key, item in tree.items()}

    def take(self, index: Any) -> memoryview:
        if not is_count(index) or index >= len(self._attachments) or self._is_taken[index]:
            raise violation(f"attachment {index!r} does not exist or is named twice")
        self._is_taken[index] = True
        attachment: memoryview = self._attachments[index]
        return attachment

    def _tagged(self, tag: str, payload: Any) -> Any:
        if tag == "$float":
            return _decode_float(payload)
        if tag == "$int":
            return _decode_int(payload)
        if tag == "$bytes":
            return bytes(self.take(payload))
        if tag == "$tuple":
            return tuple([self.value(item) for item in _array(tag, payload)])
        if tag == "$set":
            items = [self._key(item) for item in _array(tag, payload)]
            unique = set(items)
            if len(unique) != len(items):
                raise violation("a set with an element twice")
            return unique
        if tag == "$dict":
            return self._dict(_array(tag, payload))
        if self._extension is not None and tag in self._extension.tags:
            return self._extension.decode(tag, payload, self)
        raise violation(f"unknown tag {tag}")

    def _dict(self, pairs: list[Any]) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for pair in pairs:
            if type(pair) is not list or len(pair) != 2:
                raise violation("a $dict whose pairs are not arrays of two")
            key = self._key(pair[0])
            if key in result:
                raise violation("a $dict with a key twice")
            result[key] = self.value(pair[1])
        if all(type(key) is str and is_plain_key(key) for key in result):
            raise violation("a $dict whose keys are all plain")
        return result

    def _key(self, tree: Any) -> Any:
        if type(tree) is dict and not (len(tree) == 1 and next(iter(tree)) in _KEY_TAGS):
            raise violation("an object as a key of a dict or an element of a set")
        if type(tree) is list:
            raise violation("a list as a key of a dict or an element of a set")
        if type(tree) is dict and "$tuple" in tree:
            return tuple([self._key(item) for item in _array("$tuple", tree["$tuple"])])
        return self.value(tree)


_KEY_TAGS = frozenset({"$int", "$float", "$bytes", "$tuple"})


def _array(tag: str, payload: Any) -> list[Any]:
    if type(payload) is not list:
        raise violation(f"{tag} of something that is no array")
    return payload


def _decode_float(text: Any) -> float:
    if type(text) is str and len(text) <= _FLOAT_CHARS:
        if text == "nan":
            return float("nan")  # a new object each time: Python takes one and the same for equal in tuples and sets
        named = _NAMED_FLOATS.get(text)
        if named is not None:
            return named
        if _NUMBER(text):
            number = float(text)
            if number.is_integer():
                return number
    raise violation(f"$float of {text!r}")


def _decode_int(text: Any) -> int:
    if type(text) is str and _INTEGER(text):
        number = int(text, 16)
        if abs(number) > MAX_INTEGER:
            return number
    raise violation(f"$int of {text!r}"[:200])
