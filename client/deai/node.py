"""What a chain's node answers, by JSON-RPC: results, reverts, refusals and silence told apart."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from deai import errors

T = TypeVar("T")


class Transport(Protocol):
    """Carries requests to a node, and its answers back as they are. Raises OSError or ValueError where none comes."""

    def make_request(self, method: Any, params: Any) -> Any: ...

    def make_batch_request(self, batch_requests: list[Any]) -> Any: ...


class Refused(Exception):
    """The node answered with an error."""

    def __init__(self, error: Any) -> None:
        self.message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        self.data = _revert_data(error)
        super().__init__(self.message)


class Node:
    """The node at `rpc`. Thread-safe. `refusal` makes an error of what a contract says when it reverts."""

    def __init__(self, rpc: str, transport: Transport, refusal: Callable[[str], errors.WrongRequest]) -> None:
        url = urlsplit(rpc)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise errors.BadField("rpc", rpc, "is not an http(s) URL of a node")
        # Without what may be a secret: password, path and query.
        self.shown = f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")
        self._transport, self._refusal = transport, refusal
        self._takes_batches = True

    def answer(self, method: str, *params: Any) -> Any:
        """The node's result. Raises Refused for its errors, ChainUnavailable where it does not answer."""
        return self._result(self._spoken(self._transport.make_request, method, params))

    def ask(self, method: str, *params: Any) -> Any:
        """The node's result. A revert becomes what the contract said; any other error, ChainUnavailable."""
        try:
            return self.answer(method, *params)
        except Refused as refused:
            raise self.error(method, refused) from refused

    def ask_all(self, *calls: tuple[Any, ...]) -> list[Any]:
        """The results of several calls, each a method and its parameters, in one round trip where the node takes batches.

        Raises what `ask` does, for the first call that failed.
        """
        requests = [(method, params) for method, *params in calls]
        answers: Any = None
        if self._takes_batches:
            answers = self._spoken(self._transport.make_batch_request, requests)
            # Instead of a list: the node's one error, that it takes no batches.
            self._takes_batches = isinstance(answers, list)
        if not isinstance(answers, list):
            return [self.ask(method, *params) for method, params in requests]
        if len(answers) != len(calls):
            raise self._nonsense()
        results = []
        for (method, _), answer in zip(requests, answers, strict=True):
            try:
                results.append(self._result(answer))
            except Refused as refused:
                raise self.error(method, refused) from refused
        return results

    def read(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """What `parse` makes of the node's result."""
        return self.parsed(parse, self.ask(method, *params))

    def view(self, parse: Callable[[Any], T], contract: str, data: str) -> T:
        """What `parse` makes of what a contract answers at the head. Raises ChainUnavailable where there is none at the head just now, as on a
        node that is syncing, or amid a reorg: who asks has seen the contract there.
        """
        found = self.ask("eth_call", {"to": contract, "data": data}, "latest")
        if found == "0x":
            raise errors.ChainUnavailable(
                f"the chain's node at {self.shown} knows no contract at {contract} just now"
            )
        return self.parsed(parse, found)

    def parsed(self, parse: Callable[[Any], T], result: Any) -> T:
        """What `parse` makes of a result. Raises ChainUnavailable where it makes no sense of it."""
        try:
            return parse(result)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise self._nonsense() from error

    def number(self, method: str, *params: Any) -> int:
        """A result that is a number."""
        return self.read(quantity, method, *params)

    def error(self, method: str, refused: Refused) -> errors.DeaiError:
        """The error that a refusal is to the caller."""
        if refused.data is not None:
            return self._refusal(refused.data)
        return errors.ChainUnavailable(f"the chain's node at {self.shown} refused {method}: {refused}")

    def _spoken(self, request: Callable[..., Any], *values: Any) -> Any:
        try:
            return request(*values)
        except (OSError, ValueError) as error:  # the network's errors are OSErrors; ValueError: not JSON
            why = f"the chain's node at {self.shown} does not answer ({type(error).__name__})"
            raise errors.ChainUnavailable(why) from error
        except (TypeError, KeyError, AttributeError) as error:  # a batch whose parts have no ids
            raise self._nonsense() from error

    def _result(self, answer: Any) -> Any:
        match answer:
            case {"error": refusal}:
                raise Refused(refusal)
            case {"result": result}:
                return result
        raise self._nonsense()

    def _nonsense(self) -> errors.ChainUnavailable:
        return errors.ChainUnavailable(f"what answers at {self.shown} is not a chain's node")


def quantity(found: Any) -> int:
    """A number as JSON-RPC writes it, 0x-hex."""
    return int(found, 16)


def _revert_data(error: Any) -> str | None:
    """The revert data of an error, wherever a node puts it; None where the error is not a revert."""
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    if isinstance(data, str):
        found = data.removeprefix("Reverted ").strip()
        if found.startswith("0x"):
            return found
    return "0x" if "revert" in str(error.get("message", "")).lower() else None
