"""Callee: calls of the other side, from the session to the method and back. A part of peer.py; mirrors callee.ts.

In which thread each runs is the pool's affair.
"""

from __future__ import annotations

from contextlib import suppress

from ..errors import PyisolateError
from .calls import PLAIN, Call, current_call, is_awaitable
from .core import Core
from .kinds import ERROR, EVENT, LAST, REPLY, RESULT
from .remote import error_body
from .streams import Credits, is_stream, produce, produce_anywhere, produce_async
from .values import Encoder, LoopEncoder, MustWait, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Optional

    Methods = Mapping[str, Callable[..., Any]]
    MakesCoroutine = Callable[[str, list[Any]], bool]
    #: Called right before an answer is sent; gives what to call if that has to wait.
    BeforeAnswer = Callable[[], Optional[Callable[[], object]]]

_NO_ARGS: list[Any] = []


class Callee(Core):
    _methods: Methods
    _makes_coroutine: MakesCoroutine
    #: Those that were not answered, by id.
    _calls: dict[int, Call]

    def run(self, call: Call) -> bool:
        current_call.set(call)
        try:
            value = self._begin(call)
            if type(value) not in PLAIN and is_stream(value):
                is_async = hasattr(value, "__anext__")
                value = produce_async(call, value, self.loop) if is_async else produce(call, value)
            if is_awaitable(value):
                does_loop_read = self._makes_coroutine(call.method, call.args)
                if does_loop_read:
                    self._pool.let_loop_lead()
                else:
                    self._pool.will_read_on()
                self.loop.call_soon(self._start, call, value)
                return not does_loop_read
        except BaseException as error:
            self._fail(call, error, self._pool.will_read_on)
        else:
            self._answer(call, value, self._pool.will_read_on)
        finally:
            current_call.set(None)
        return True

    def run_in_loop(self, call: Call) -> bool:
        if not self._makes_coroutine(call.method, call.args):
            return False
        try:
            awaitable = self._begin(call)
        except BaseException as error:
            awaitable = _raise(error)
        self._start(call, awaitable)
        return True

    def _begin(self, call: Call) -> Any:
        method = self._methods.get(call.method)
        if method is None:
            offered = ", ".join(self._methods) or "none"
            raise PyisolateError("METHOD_UNKNOWN", f'no method "{call.method}"; there are: {offered}')
        return method(*call.args)

    def _start(self, call: Call, awaitable: Any) -> None:
        """In the loop. The task's first step comes before whatever is asked of the loop from here on: a cancel, too."""
        call.task = self.loop.make_task(self._finish(call, awaitable))

    async def _finish(self, call: Call, awaitable: Any) -> None:
        current_call.set(call)
        if call.is_cancelled:  # before the task was made, which no cancel could reach
            if hasattr(awaitable, "close"):
                awaitable.close()
            self._fail(call, PyisolateError("CALL_CANCELLED", "cancelled before it began"), lambda: None)
            return
        try:
            value = await awaitable
            if type(value) not in PLAIN and is_stream(value):
                value = await produce_anywhere(call, value, self.loop)
        except BaseException as error:
            self._fail(call, error, self._pool.loop_will_read_on)
        else:
            try:
                self._answer(call, value, self._pool.loop_will_read_on, LoopEncoder)
            except MustWait:
                await self.loop.run_in_thread(self._answer, call, value, lambda: None)
        call.task = None  # it holds the call by its context

    def _answer(self, call: Call, value: Any, before: BeforeAnswer, encoding: type[Encoder] = Encoder) -> None:
        """Raises MustWait where the encoder may not wait; nothing was sent then."""
        encoder = encoding(self._extension, self._open_lease)
        try:
            body = self._encode(encoder, "value", value)
            if encoder.attachments:
                self._check_size(encoder)
            text = write_text(body)
        except MustWait:
            self._end_leases(encoder)
            raise
        except Exception as error:  # the result has no form on the wire
            self._end_leases(encoder)
            self._fail(call, error, before)
        else:
            if not self._send_last(call, RESULT, text, encoder.attachments, before):
                self._end_leases(encoder)

    def _fail(self, call: Call, error: BaseException, before: BeforeAnswer) -> None:
        self._send_last(call, ERROR, write_text(error_body(error, is_cancelled=call.is_cancelled)), (), before)

    def _send_last(
        self, call: Call, kind: int, body: bytes, attachments: Sequence[memoryview], before: BeforeAnswer
    ) -> bool:
        """False: not sent as it is, the body was too long."""
        before_waiting = before()
        call.is_answered = True
        call.args = _NO_ARGS  # what came with them is released as soon as nothing else holds it
        self._calls.pop(call.id, None)
        self._session.close_call(call.id)
        try:
            self._outbox.send(kind, REPLY | LAST, call.id, body, attachments, before_waiting)
        except PyisolateError as error:
            if error.code != "PEER_BROKEN":
                with suppress(PyisolateError):
                    self._outbox.send(ERROR, REPLY | LAST, call.id, write_text(error_body(error)))
                return False
        return True

    def open_stream(self, call: Call) -> Credits:
        """Raises: PyisolateError VALUE_UNSUPPORTED when the other side takes no streams."""
        call.credits = self._session.open_stream(call.id)
        return call.credits  # type: ignore[no-any-return]

    def send_item(self, call: Call, value: Any, encoding: type[Encoder] = Encoder) -> None:
        """Raises: PyisolateError VALUE_UNSUPPORTED, PEER_BROKEN; MustWait as `_answer`."""
        encoder = encoding(self._extension, self._open_lease)
        try:
            body = self._encode(encoder, "value", value)
            self._check_size(encoder)
            self._outbox.send(RESULT, REPLY, call.id, write_text(body), encoder.attachments)
        except BaseException:
            self._end_leases(encoder)
            raise

    async def send_item_async(self, call: Call, value: Any) -> None:
        try:
            self.send_item(call, value, LoopEncoder)
        except MustWait:
            await self.loop.run_in_thread(self.send_item, call, value)

    def send_event(self, call: Call, name: str, data: Any) -> None:
        """Raises: PyisolateError VALUE_UNSUPPORTED."""
        encoder = Encoder(self._extension, self._open_lease)
        try:
            body = self._encode(encoder, "data", data)
            self._check_size(encoder)
            self._outbox.send(EVENT, REPLY, call.id, write_text({"event": name, **body}), encoder.attachments)
        except BaseException as error:
            self._end_leases(encoder)
            if not isinstance(error, PyisolateError) or error.code != "PEER_BROKEN":
                raise

    def _cancel(self, call: Call) -> None:
        call.is_cancelled = True
        if call.credits is not None:
            call.credits.wake()
        task = call.task
        if task is not None:
            self.loop.call_soon(task.cancel)


async def _raise(error: BaseException) -> None:
    raise error
