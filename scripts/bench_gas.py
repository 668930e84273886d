#!/usr/bin/env python3
"""What a job costs in gas: receipts of a local chain on which everybody has used the escrow before.

Every job has a bond, an arbiter with a dispute fee, and 18-decimal amounts that are no round numbers; digests, salts and signatures
look random, yet are the same in every run, and so are the numbers. Jobs without a fee name no matcher; with a fee, their matcher awards.

`three_tx`: award, deliver, settle. `two_tx`: award, deliverAndClose. `batch_100_per_job`: a hundred jobs of one submitter with ten
providers, each job's part of one batch of awards, ten of deliveries and one of settlements, all of them skipping what fails.
`dispute_ruled`: award, deliver, dispute, and a ruling against the provider. `reclaim`, `deposit` and `withdraw` are that verb alone.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from eth_account.signers.local import LocalAccount

from deai import signing
from deai.anvil import AnvilNode, anvil_binary, local_account
from deai.artifacts import artifact
from deai.chain import Event, JobAwarded, JobClosed, JobDelivered, JobDisputed
from deai.codec import Codec
from deai.deployment import Deployment
from deai.errors import Bug, ChainUnavailable, DeaiError
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, Terms, Timestamp, Wei
from deai.program import Program, free_port
from ending import end_in_order

GOALS = {"three_tx": 155_000, "three_tx_fee": 161_000, "two_tx": 134_000, "batch_100_per_job": 80_000}
BLOCK_GAS = 30_000_000
START = 2_000_000_000
"""Every block's time is fixed, so that calldata and signatures are the same bytes in every run."""
UNIT = 10**12
"""Amounts are millionths of a token, as people write them."""
SUBMITTER, MATCHER, ARBITER, STRANGER, *PROVIDERS = range(1, 15)
JOBS = 100
_MINE_SECONDS = 30.0

Said = TypeVar("Said", bound=Event)


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that succeeded."""

    gas: int
    events: tuple[Event, ...]


class Bench:
    """The escrow and a token on a local chain, and people whose balances are in use."""

    def __init__(self, node: AnvilNode) -> None:
        self.node, self.jobs, self.now = node, 0, Timestamp(START)
        self.deployment: Deployment = node.deploy("DAI")
        self.token = self.deployment.token("DAI").address
        self.codec = Codec(artifact("JobMarket").abi)
        erc20 = Codec(artifact("TestToken").abi)
        for index in (SUBMITTER, MATCHER, ARBITER, *PROVIDERS):
            person = address(index)
            self.mine(index, erc20.call("mint", person, 10**24), self.token)
            self.mine(index, erc20.call("approve", self.deployment.contract, 2**256 - 1), self.token)
            self.send(index, "deposit", self.token, person, 7_654_321_098 * UNIT)
        self.reclaim()  # so that something was burned before

    def send(self, sender: int, verb: str, *values: object) -> Sent:
        """A call of the escrow in a block of its own."""
        return self.mine(sender, self.codec.call(verb, *values), self.deployment.contract)

    def mine(self, sender: int, data: str, to: Address) -> Sent:
        """A transaction in a block of its own, a second after the last. Raises Bug if it is undone."""
        self.now = Timestamp(self.now + 1)
        self.node.call("evm_setNextBlockTimestamp", self.now)
        sent = self.node.call(
            "eth_sendTransaction", {"from": address(sender), "to": to, "data": data, "gas": hex(BLOCK_GAS)}
        )
        deadline = time.monotonic() + _MINE_SECONDS
        while (receipt := self.node.call("eth_getTransactionReceipt", sent)) is None:
            if time.monotonic() > deadline:
                raise ChainUnavailable(f"{sent} was not mined in {_MINE_SECONDS:.0f} s")
            time.sleep(0.002)
        if int(receipt["status"], 16) != 1:
            raise Bug(f"{data[:10]}: the local chain undid {sent}")
        logs = (log for log in receipt["logs"] if log["address"].lower() == self.deployment.contract.lower())
        return Sent(int(receipt["gasUsed"], 16), tuple(self.codec.event(log) for log in logs))

    def wait_until(self, then: Timestamp) -> None:
        """The next block has this time."""
        self.now = Timestamp(then - 1)

    # Jobs.

    def orders(self, *, fee: bool, provider: int = PROVIDERS[0]) -> tuple[Job, bytes, Bid, bytes]:
        """A job and a bid that were never seen before, both signed: what an award takes."""
        self.jobs += 1
        now = self.now
        job = Job(
            submitter=address(SUBMITTER),
            token=self.token,
            price_start=Wei(10_234_567 * UNIT),
            price_cap=Wei(98_765_432 * UNIT),
            bond=Wei(34_567_891 * UNIT),
            arbiter=address(ARBITER),
            dispute_fee=Wei(5_432_109 * UNIT),
            arbiter_data=bytes.fromhex("000103").ljust(32, b"\0"),
            matcher=address(MATCHER) if fee else ZERO_ADDRESS,
            matcher_fee_bps=250 if fee else 0,
            open_at=Timestamp(now - 30),
            award_by=Timestamp(now + 3_600),
            deliver_seconds=7_200,
            challenge_seconds=3_600,
            ruling_seconds=86_400,
            spec=digest("spec", self.jobs),
            salt=digest("salt", self.jobs),
        )
        domain = self.deployment.domain
        bid = Bid(
            job=signing.job_id(job, domain),
            provider=address(provider),
            price=Wei(10_123_456 * UNIT),
            expires_at=Timestamp(now + 110),
        )
        signed_job = signing.sign_job(account(SUBMITTER), job, domain)
        return job, signed_job, bid, signing.sign_bid(account(provider), bid, domain)

    def award(self, *, fee: bool) -> tuple[JobId, Terms, int]:
        """The gas of an award, by the matcher if it has a fee."""
        sent = self.send(MATCHER if fee else STRANGER, "award", *self.orders(fee=fee))
        awarded = only(sent, JobAwarded)
        return awarded.id, awarded.terms, sent.gas

    def deliver(self, job: JobId, terms: Terms) -> tuple[Terms, int]:
        """The gas of a delivery."""
        sent = self.send(PROVIDERS[0], "deliver", job, terms, digest("result", self.jobs))
        said = only(sent, JobDelivered)
        return terms.delivered(said.result, said.window_end), sent.gas

    # What is measured.

    def three_tx(self, *, fee: bool) -> int:
        job, terms, award = self.award(fee=fee)
        terms, deliver = self.deliver(job, terms)
        self.wait_until(terms.window_end)
        return award + deliver + self.send(STRANGER, "settle", job, terms).gas

    def two_tx(self) -> int:
        job, terms, award = self.award(fee=True)
        result = digest("result", self.jobs)
        consent = signing.sign_approval(
            account(SUBMITTER), job, terms.provider, result, self.deployment.domain
        )
        return award + self.send(PROVIDERS[0], "deliverAndClose", job, terms, result, consent).gas

    def batch(self, *, fee: bool) -> int:
        """The gas of a hundred jobs."""
        orders = [self.orders(fee=fee, provider=PROVIDERS[place % len(PROVIDERS)]) for place in range(JOBS)]
        sent = self.many(MATCHER if fee else STRANGER, [("award", *order) for order in orders])
        gas = sent.gas
        terms = {event.id: event.terms for event in sent.events if isinstance(event, JobAwarded)}
        for provider in PROVIDERS:
            own = [job for job, each in terms.items() if each.provider == address(provider)]
            deliveries = [("deliver", job, terms[job], digest("result", job)) for job in own]
            sent = self.many(provider, deliveries)
            gas += sent.gas
            for event in sent.events:
                if isinstance(event, JobDelivered):
                    terms[event.id] = terms[event.id].delivered(event.result, event.window_end)
        self.wait_until(max(each.window_end for each in terms.values()))
        sent = self.many(STRANGER, [("settle", job, each) for job, each in terms.items()])
        if sum(isinstance(event, JobClosed) for event in sent.events) != JOBS:
            raise Bug(f"of {JOBS} jobs of a batch, some were not paid")
        return gas + sent.gas

    def many(self, sender: int, calls: list[tuple[Any, ...]]) -> Sent:
        """One batch that skips what fails."""
        data = [bytes.fromhex(self.codec.call(verb, *values)[2:]) for verb, *values in calls]
        return self.send(sender, "batch", data, False)

    def dispute_ruled(self) -> int:
        job, terms, award = self.award(fee=False)
        terms, deliver = self.deliver(job, terms)
        sent = self.send(SUBMITTER, "dispute", job, terms)
        said = only(sent, JobDisputed)
        disputed = terms.disputed(said.disputer, said.rule_by)
        return award + deliver + sent.gas + self.send(ARBITER, "rule", job, disputed, 0).gas

    def reclaim(self) -> int:
        job, terms, _ = self.award(fee=False)
        self.wait_until(terms.deliver_by)
        return self.send(STRANGER, "reclaim", job, terms).gas

    def deposit(self) -> int:
        return self.send(SUBMITTER, "deposit", self.token, address(SUBMITTER), 12_345_678 * UNIT).gas

    def withdraw(self) -> int:
        return self.send(SUBMITTER, "withdraw", self.token, address(SUBMITTER), 12_345_678 * UNIT).gas

    def measure(self) -> dict[str, int]:
        return {
            "three_tx": self.three_tx(fee=False),
            "three_tx_fee": self.three_tx(fee=True),
            "two_tx": self.two_tx(),
            "batch_100_per_job": round(self.batch(fee=False) / JOBS),
            "batch_100_fee_per_job": round(self.batch(fee=True) / JOBS),
            "dispute_ruled": self.dispute_ruled(),
            "reclaim": self.reclaim(),
            "deposit": self.deposit(),
            "withdraw": self.withdraw(),
        }


@cache
def account(index: int) -> LocalAccount:
    """The account of that index of the local chain."""
    return local_account(index)


def address(index: int) -> Address:
    return Address(account(index).address)


def digest(*parts: object) -> bytes:
    """32 bytes that look random."""
    return hashlib.sha256(repr(parts).encode()).digest()


def only(sent: Sent, kind: type[Said]) -> Said:
    """The one event of that kind."""
    (event,) = (event for event in sent.events if isinstance(event, kind))
    return event


@contextmanager
def chain() -> Iterator[AnvilNode]:
    """A local chain of our own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="bench-gas-") as folder:
        port = free_port()
        command = [str(anvil_binary()), "--port", str(port), "--hardfork", "cancun", "--silent"]
        command += ["--accounts", "16", "--gas-limit", str(BLOCK_GAS), "--timestamp", str(START - 3_600)]
        node = AnvilNode(f"http://127.0.0.1:{port}")
        program = Program("anvil", command, Path(folder) / "anvil.log")
        try:
            program.wait_for(lambda: node.answers, ChainUnavailable)
            yield node
        finally:
            program.stop()


def main() -> int:
    """Measures, and prints what it found; exit code 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    given = parser.parse_args()
    end_in_order()
    try:
        with chain() as node:
            found = Bench(node).measure()
    except DeaiError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    for name, gas in found.items():
        print(f"{name:24} {gas:9,}" + (f"   goal {GOALS[name]:,}" if name in GOALS else ""))
    if given.json:
        print(json.dumps({"bench": "gas", **found}))
    return 1 if any(found[name] > goal for name, goal in GOALS.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
