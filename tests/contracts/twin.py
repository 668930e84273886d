"""The contract on a real chain and the client's reference model side by side: the same calls at the same times, answers compared."""

from copy import copy
from functools import cache
from typing import Any

from world import NOBODY, World

from deai import errors
from deai.chain import CallSkipped, Event, Item
from deai.codec import Codec
from deai.escrow import UNKNOWN, Call, Escrow
from deai.history import rebuild
from deai.job import Address, Bid, JobId, JobState, Timestamp

_GAS = 10_000_000
_LOOK_AT_ALL = 10
_VERBS = {"cancel_all": "cancelAll", "deliver_and_close": "deliverAndClose"}


class Twin:
    """`world.market` and its model. Whatever a call does to one, it must do to the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.codec, self.erc20 = Codec(world.market.abi), Codec(world.dai.abi)
        self.tokens = (world.token, NOBODY)
        self.wallet = Address(world.create("Wallet", world.submitter).address)
        self.views = world.create("Views")
        self.people: tuple[Address, ...] = (*world.people, self.wallet)
        self.clock = world.now
        self.model = Escrow(world.domain, native=10**24)
        # A key gives a digest one signature, so this is the one that the wallet takes.
        self.model.judges[self.wallet] = lambda digest, signature: (
            signature == world.signed_digest(world.submitter, digest)
        )
        self.model.mint(world.token, world.domain.contract, world.held())
        for person in self.people:
            self.model.balances[world.token, person] = world.balance(person)
        self.jobs: set[JobId] = set()
        self.steps = 0
        self.bids: list[Bid] = []
        self.closed: dict[JobId, tuple[Any, ...]] = {}
        for person in self.people:
            self._equip(person)

    def _equip(self, person: Address) -> None:
        """Coins for gas and deposits, tokens, and the escrow's leave to take them."""
        world = self.world
        world.rpc("anvil_impersonateAccount", person)
        world.rpc("anvil_setBalance", person, hex(10**24))
        for data in (
            self.erc20.call("mint", person, 10**24),
            self.erc20.call("approve", world.market.address, 2**256 - 1),
        ):
            self.clock = Timestamp(self.clock + 1)
            receipt = self._mine(person, world.dai.address, data, 0)
            assert int(receipt["status"], 16) == 1
        self.model.mint(world.token, person, 10**24)

    # Calls.

    def make(
        self, sender: Address, then: Timestamp, items: list[Item], *, all_or_nothing: bool | None, value: int
    ) -> list[Event]:
        """One call, or with `all_or_nothing` given a batch, in a block of the time `then`; the events, none if it was refused."""
        self.clock = then
        if all_or_nothing is None:
            (item,) = items
            data = self._data(item)
        else:
            calls = [bytes.fromhex(self._data(each)[2:]) for each in items]
            data = self.codec.call("batch", calls, all_or_nothing)
        expected = self._expect(Call(sender, then, value), items, all_or_nothing)
        found = self._found(sender, data, value)
        assert _comparable(found) == _comparable(expected), (items, found, expected)
        events = expected if isinstance(expected, list) else []
        touched = {job for event in events if (job := getattr(event, "id", None)) is not None}
        self.jobs |= touched
        self.steps += 1
        self.bids += [event.bid for event in events if hasattr(event, "bid")]
        # A job that nobody touched is looked at now and then: each look is two calls, and there are dozens.
        self.compare(self.jobs if self.steps % _LOOK_AT_ALL == 0 else touched)
        return events

    def _data(self, item: Item) -> str:
        return self.codec.call(_VERBS.get(item.verb, item.verb), *item.values)

    def _expect(self, call: Call, items: list[Item], all_or_nothing: bool | None) -> list[Event] | Exception:
        after = copy(self.model)
        try:
            alone = all_or_nothing is None
            events = after.verb(call, items[0]) if alone else after.batch(call, items, bool(all_or_nothing))
        except errors.WrongRequest as error:
            return error
        self.model = after
        return events

    def _found(self, sender: Address, data: str, value: int) -> list[Event] | Exception:
        receipt = self._mine(sender, self.world.market.address, data, value)
        if int(receipt["status"], 16) == 0:
            trace = self.world.rpc(
                "debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"}
            )
            return self.codec.refusal(trace.get("output", "0x"))
        logs = (log for log in receipt["logs"] if log["address"].lower() == self.world.market.address.lower())
        return [self.codec.event(log) for log in logs]

    def _mine(self, sender: Address, to: str, data: str, value: int) -> dict[str, Any]:
        self.world.rpc("evm_setNextBlockTimestamp", self.clock)
        call = {"from": sender, "to": to, "data": data, "value": hex(value), "gas": hex(_GAS)}
        return self.world.node.send(call)

    # What must be equal.

    def compare(self, jobs: set[JobId]) -> None:
        """All accounts and these jobs by the contract's views, and by the model; what the escrow holds is all accounted for."""
        model, market = self.model, self.world.domain.contract
        wanted: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = []
        for token in self.tokens:
            for person in self.people:
                wanted.append(("balanceOf", (token, person), (model.balances.get((token, person), 0),)))
                wanted.append(("epochOf", (token, person), (model.epochs.get((token, person), 0),)))
            wanted.append(("burned", (token,), (model.burned.get(token, 0),)))
        for job in sorted(jobs):
            record = model.jobs.get(job, UNKNOWN)
            ending = (record.state, record.outcome)
            wanted.append(("stateOf", (job,), ending))
            if record.terms is not None:
                wanted.append(("isCommitted", (job, record.terms), (True,)))
            if record.state is JobState.CLOSED:
                assert self.closed.setdefault(job, ending) == ending
        wanted += [("isPlaced", (bid,), (True,)) for bid in self.bids[-3:]]
        questions = [self._question(view, *values) for view, values, _ in wanted]
        answers = self.world.view("all", market, questions, to=self.views)
        for (view, values, expected), answer in zip(wanted, answers, strict=True):
            assert self.codec.answer(view, "0x" + answer.hex()) == expected, (view, values)
        holding = {"to": self.world.token, "data": self.erc20.call("balanceOf", market)}
        tokens, coins = self.world.node.ask(
            ("eth_call", holding, "latest"), ("eth_getBalance", market, "latest")
        )
        for token, held in zip(self.tokens, (tokens, coins), strict=True):
            balances = sum(amount for (of, _), amount in model.balances.items() if of == token)
            assert int(held, 16) == balances + model.locked(token) + model.burned.get(token, 0)
            assert int(held, 16) == model.holding(token, market)

    @cache  # noqa: B019 - it lives as long as its test
    def _question(self, view: str, *values: Any) -> bytes:
        return bytes.fromhex(self.codec.call(view, *values)[2:])

    def compare_history(self) -> None:
        """The whole state at the end, and what the events since the deployment tell of it, with nothing else known."""
        self.compare(self.jobs)
        logs = self.world.rpc(
            "eth_getLogs", {"address": self.world.market.address, "fromBlock": "0x0", "toBlock": "latest"}
        )
        ledger = rebuild(self.codec.event(log) for log in logs)
        for token in self.tokens:
            for person in self.people:
                assert ledger.balances[token, person] == self.model.balances.get((token, person), 0)
                assert ledger.epochs[token, person] == self.model.epochs.get((token, person), 0)
            assert ledger.burned[token] == self.model.burned.get(token, 0)
            assert ledger.locked(token) == self.model.locked(token)
        assert set(ledger.jobs) >= set(self.model.jobs)
        for job, record in self.model.jobs.items():
            told = ledger.jobs[job]
            assert (told.state, told.outcome) == (record.state, record.outcome)
            if record.terms is not None:
                assert told.terms == record.terms


def _comparable(answer: list[Event] | Exception) -> Any:
    """Events without their place in the chain; of errors the kind and the arguments."""
    if isinstance(answer, errors.BadField):
        return answer.field  # a token's own refusal, which the model puts in other words
    if isinstance(answer, Exception):
        return type(answer).__name__, answer.args
    return [_event(event) for event in answer]


def _event(event: Event) -> Any:
    place = ("block", "block_hash", "tx", "index")
    values = {name: getattr(event, name) for name in event.__dataclass_fields__ if name not in place}
    if isinstance(event, CallSkipped):
        values["reason"] = _comparable(event.reason)
    return type(event).__name__, values
