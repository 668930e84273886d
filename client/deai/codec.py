"""The escrow's ABI and our values: calls and answers, events, and what a revert says. Pure.

`priceStart` in Solidity is `price_start` here; structs, enums, errors and events keep their names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

from deai import chain, errors, panel, panel_errors
from deai.chain import Event
from deai.job import Bid, Job, JobState, Outcome, Payout, Terms

Entry = Mapping[str, Any]
"""One element of a JSON ABI, or one of its parameters."""

_STRUCTS: dict[str, Any] = {
    "struct Job": Job,
    "struct Bid": Bid,
    "struct Payout": Payout,
    "struct Case": panel.Case,
    "struct Seat": panel.Seat,
    "struct Ticket": panel.Ticket,
    "struct Pace": panel.CasePace,
}
_ENUMS: dict[str, Any] = {
    "enum JobState": JobState,
    "enum Outcome": Outcome,
    "enum Phase": panel.Phase,
    "enum Verdict": panel.Verdict,
}
_EVENTS: tuple[type[Event], ...] = (
    chain.Deposited,
    chain.Withdrawn,
    chain.JobPosted,
    chain.BidPlaced,
    chain.JobCancelled,
    chain.AllCancelled,
    chain.JobAwarded,
    chain.JobDelivered,
    chain.JobDisputed,
    chain.JobClosed,
    chain.CallSkipped,
    *panel.EVENTS,
)
_EVENT_CLASSES = {event.__name__: event for event in _EVENTS}
_REQUIRE_MESSAGE = function_signature_to_4byte_selector("Error(string)")
_PANIC = function_signature_to_4byte_selector("Panic(uint256)")
_TOKEN_ERRORS = {  # ERC-6093, which OpenZeppelin's tokens follow
    function_signature_to_4byte_selector("ERC20InsufficientBalance(address,uint256,uint256)"): "holds",
    function_signature_to_4byte_selector("ERC20InsufficientAllowance(address,uint256,uint256)"): "may move",
}


class Codec:
    """Speaks one contract's ABI."""

    def __init__(self, abi: Sequence[Entry]) -> None:
        self._functions = {entry["name"]: entry for entry in abi if entry["type"] == "function"}
        self._errors = {_selector(entry): entry for entry in abi if entry["type"] == "error"}
        events = [entry for entry in abi if entry["type"] == "event"]
        self._events: dict[bytes, Entry] = {_topic(entry): entry for entry in events}
        self.job_topics = ["0x" + _topic(entry).hex() for entry in events if _is_of_job(entry)]
        """The topics of the events that have a job's id as their first indexed field."""

    def call(self, verb: str, *values: object) -> str:
        """The call data, 0x-hex. Raises BadField for a value that its Solidity type cannot hold."""
        entry = self._functions[verb]
        parameters = entry["inputs"]
        plain = [_plain(parameter, value) for parameter, value in zip(parameters, values, strict=True)]
        try:
            data = encode([_type(parameter) for parameter in parameters], plain)
        except EncodingError as error:
            raise errors.BadField(verb, values, str(error)) from error
        return "0x" + (_selector(entry) + data).hex()

    def called(self, data: str) -> tuple[str, tuple[Any, ...]] | None:
        """The verb and the values of call data; None for what is no call of this contract."""
        raw = bytes.fromhex(data[2:])
        entry = next((each for each in self._functions.values() if _selector(each) == raw[:4]), None)
        if entry is None:
            return None
        try:
            return entry["name"], _values(entry["inputs"], raw[4:])
        except DecodingError:
            return None

    def answer(self, verb: str, data: str) -> tuple[Any, ...]:
        """What a view returned. Raises Bug for an answer that is not of its type."""
        parameters = self._functions[verb]["outputs"]
        try:
            return _values(parameters, bytes.fromhex(data[2:]))
        except DecodingError as error:
            raise errors.Bug(f"{verb}: {data!r} is not an answer of the contract") from error

    def event(self, log: Mapping[str, Any]) -> Event:
        """One of the escrow's logs, as a node gives it. Raises Bug for an event that is not in the ABI."""
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        entry = self._events.get(topics[0]) if topics else None
        if entry is None or entry["name"] not in _EVENT_CLASSES:
            raise errors.Bug(
                f"transaction {log['transactionHash']}: the contract emitted an event nobody knows"
            )
        indexed = [parameter for parameter in entry["inputs"] if parameter["indexed"]]
        others = [parameter for parameter in entry["inputs"] if not parameter["indexed"]]
        found = dict(zip(map(_name, indexed), _values(indexed, b"".join(topics[1:])), strict=True))
        found |= dict(zip(map(_name, others), _values(others, bytes.fromhex(log["data"][2:])), strict=True))
        if entry["name"] == chain.CallSkipped.__name__:
            found |= {"place": found["index"], "reason": self.refusal("0x" + found["reason"].hex())}
        return _event(_EVENT_CLASSES[entry["name"]], found, log)

    def refusal(self, data: str) -> errors.WrongRequest:
        """What the revert data of a call says, as our error."""
        raw = bytes.fromhex(data[2:])
        selector, body = raw[:4], raw[4:]
        if entry := self._errors.get(selector):
            known = _error(entry["name"])
            if known is not None:
                return known(*_values(entry["inputs"], body))
        if selector in _TOKEN_ERRORS:
            account, there, needed = decode(("address", "uint256", "uint256"), body)
            rule = f"{to_checksum_address(account)} {_TOKEN_ERRORS[selector]} {there} of the token"
            return errors.BadField("amount", needed, rule)
        if selector == _REQUIRE_MESSAGE:
            return errors.WrongRequest(f"a contract refused: {decode(('string',), body)[0]}")
        if selector == _PANIC:
            return errors.WrongRequest(f"a contract panicked with code {int.from_bytes(body)}")
        return errors.WrongRequest(f"a contract refused and does not say why ({data})")


def _error(name: str) -> type[errors.WrongRequest] | None:
    return getattr(errors, name, None) or getattr(panel_errors, name, None)


def _is_of_job(event: Entry) -> bool:
    """Whether an event has a job's id as its first indexed field."""
    first = next(iter(event["inputs"]), None)
    return first is not None and bool(first["indexed"] and first.get("internalType") == "JobId")


def _event(event: type[Event], found: dict[str, Any], log: Mapping[str, Any]) -> Event:
    if event is chain.Deposited:
        found["sender"] = found["from"]
    if event is panel.Moved:
        found |= {"source": found["from"], "target": found["to"]}
    found |= {
        "block": int(log["blockNumber"], 16),
        "block_hash": log["blockHash"],
        "tx": log["transactionHash"],
        "index": int(log["logIndex"], 16),
    }
    return event(**{field.name: found[field.name] for field in fields(event)})


def _name(parameter: Entry) -> str:
    return re.sub(r"([A-Z])", r"_\1", parameter["name"]).lower().strip("_")


def _type(parameter: Entry) -> str:
    return collapse_if_tuple(dict(parameter))


def _selector(entry: Entry) -> bytes:
    parameters = ",".join(_type(parameter) for parameter in entry["inputs"])
    return function_signature_to_4byte_selector(f"{entry['name']}({parameters})")


def _topic(entry: Any) -> bytes:
    return event_abi_to_log_topic(entry)


def _values(parameters: Sequence[Entry], data: bytes) -> tuple[Any, ...]:
    plain = decode([_type(parameter) for parameter in parameters], data)
    return tuple(_ours(parameter, value) for parameter, value in zip(parameters, plain, strict=True))


def _plain(parameter: Entry, value: Any) -> Any:
    """Our value as eth-abi takes it."""
    if isinstance(value, Terms):
        return value.packed()
    if parameter["type"] == "tuple":
        return tuple(_plain(part, getattr(value, _name(part))) for part in parameter["components"])
    if parameter["type"] == "bytes32" and isinstance(value, str):
        return bytes.fromhex(value[2:])
    return value


def _ours(parameter: Entry, value: Any) -> Any:
    """A value of eth-abi as ours."""
    kind = parameter.get("internalType", "")
    if kind.endswith("[]"):
        element = {**parameter, "type": parameter["type"][:-2], "internalType": kind[:-2]}
        return [_ours(element, each) for each in value]
    if kind == "struct Terms":
        return Terms.unpacked(value)
    if kind in _STRUCTS:
        parts = zip(parameter["components"], value, strict=True)
        return _STRUCTS[kind](**{_name(part): _ours(part, each) for part, each in parts})
    if kind in _ENUMS:
        return _ENUMS[kind](value)
    if kind == "JobId":
        return "0x" + value.hex()
    if parameter["type"] == "address":
        return to_checksum_address(value)
    return value
