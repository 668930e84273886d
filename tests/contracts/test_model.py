"""The same random histories on the contract and in the client's reference model (deai/escrow.py): equal after every step.

Right and wrong parties, terms and signatures, a contract wallet, ERC-20 and native coin, batches, epochs, disputes, and every border of
time. More of them: DEAI_HISTORIES=1000. One of them again: DEAI_HISTORIES=17-17.
"""

import os
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from twin import Twin
from world import NOBODY, ONE, RESULT, World

from deai import signing
from deai.chain import Item, JobAwarded, JobDelivered, JobDisputed
from deai.escrow import UNKNOWN, Record
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, JobState, Terms, Timestamp, Wei, ramp

STEPS = 50
VERBS = [
    "post", "bid", "cancel", "cancel_all", "award", "deliver", "deliver_and_close", "approve", "settle", "dispute", "rule", "lapse",
    "reclaim",
]  # fmt: skip
BATCHED = 0.15
Step = tuple[Address, Item]


def _seeds() -> range:
    first, _, last = os.environ.get("DEAI_HISTORIES", "50").rpartition("-")
    return range(int(first), int(last) + 1) if first else range(int(last))


@pytest.mark.parametrize("seed", _seeds())
def test_model_and_contract_are_equal_after_every_step(world: World, seed: int) -> None:
    twin = Twin(world)
    history = History(twin, Random(seed))  # noqa: S311
    for _ in range(STEPS):
        history.step()
    twin.compare_history()


class History:
    """Steps that are mostly sensible, so that jobs get far, and often wrong in one way."""

    def __init__(self, twin: Twin, random: Random) -> None:
        self.twin, self.world, self.random = twin, twin.world, random
        self.jobs: list[Job] = []
        self.terms: dict[JobId, list[Terms]] = {}
        self.bids: dict[JobId, Bid] = {}
        self.sign()

    def step(self) -> None:
        if self.random.random() < 0.2:
            self.sign()
        job = self.pick()
        then = self.moment(job)
        sender, item = self.call(job, then)
        value = 0
        if item.verb == "deposit" and (item.values[0] == NOBODY) != self.rarely():
            value = int(str(item.values[2]))
        items, all_or_nothing = [item], None
        if self.random.random() < BATCHED:
            more = (self.call(self.pick(), then) for _ in range(12))
            items += [each for by, each in more if by == sender]
            all_or_nothing, value = self.random.random() < 0.3, 0
        for event in self.twin.make(sender, then, items, all_or_nothing=all_or_nothing, value=value):
            match event:
                case JobAwarded():
                    self.terms[event.id] = [event.terms]
                case JobDelivered():
                    known = self.terms[event.id]
                    known.append(known[-1].delivered(event.result, event.window_end))
                case JobDisputed():
                    known = self.terms[event.id]
                    known.append(known[-1].disputed(event.disputer, event.rule_by))

    def call(self, job: Job, then: Timestamp) -> Step:
        """What may come next for the job, or anything."""
        kind = self.random.choices(["next", "any", "money"], [75, 15, 10])[0]
        if kind == "money":
            return self.money()
        verb = self.random.choice(VERBS)
        if kind == "next":
            nexts = {
                JobState.UNKNOWN: ["award", "award", "award", "award", "post", "bid", "cancel"],
                JobState.OPEN: ["award", "award", "award", "bid", "cancel"],
                JobState.AWARDED: ["deliver", "deliver", "deliver", "deliver_and_close", "reclaim"],
                JobState.DELIVERED: ["dispute", "dispute", "dispute", "rule", "approve", "settle"],
                JobState.DISPUTED: ["rule", "rule", "lapse"],
                JobState.CLOSED: VERBS,
            }
            verb = self.random.choice(nexts[self.record(job).state])
        return self.early(job, verb, then) or self.late(job, verb)

    # What calls are made of.

    def early(self, job: Job, verb: str, then: Timestamp) -> Step | None:
        """A verb before the award."""
        twin, random = self.twin, self.random
        if verb in ("post", "cancel"):
            return self.mostly(job.submitter), Item(verb, (job,))
        if verb == "cancel_all":
            return self.mostly(job.submitter), Item(verb, (random.choice(twin.tokens),))
        if verb not in ("bid", "award"):
            return None
        bid = self.offer(job, then)
        if verb == "bid":
            self.bids[bid.job] = bid
            return self.mostly(bid.provider), Item(verb, (bid,))
        if bid.job in self.bids and random.random() < 0.5:
            bid, bid_signature = self.bids[bid.job], b""
        else:
            bid_signature = self.signed(bid.provider, signing.bid_digest(bid, self.world.domain))
        by = random.choice([job.matcher, job.matcher, bid.provider, *twin.people])
        sender = by if by in twin.people else self.world.stranger
        return sender, Item(verb, (job, self.job_signature(job), bid, bid_signature))

    def late(self, job: Job, verb: str) -> Step:
        """A verb after the award."""
        world, random, key = self.world, self.random, self.id(job)
        terms = self.known(job)
        result = bytes(32) if self.rarely() else RESULT
        match verb:
            case "deliver":
                return self.mostly(terms.provider), Item(verb, (key, terms, result))
            case "deliver_and_close":
                approved = b"\x09" * 32 if self.rarely() else result
                digest = signing.approval_digest(key, terms.provider, approved, world.domain)
                return self.mostly(terms.provider), Item(
                    verb, (key, terms, result, self.signed(terms.submitter, digest))
                )
            case "approve":
                return self.mostly(terms.submitter), Item(verb, (key, terms))
            case "dispute":
                return self.mostly(random.choice([terms.submitter, terms.arbiter])), Item(verb, (key, terms))
            case "rule":
                share = random.choice([0, 10_000, random.randrange(10_000), 10_001])
                return self.mostly(terms.arbiter), Item(verb, (key, terms, share))
            case _:
                return random.choice(self.twin.people), Item(verb, (key, terms))

    def money(self) -> Step:
        twin, random = self.twin, self.random
        token, who = random.choice(twin.tokens), random.choice(twin.people)
        amount = random.choice([0, 1, ONE, 7 * ONE, 300 * ONE, 2_000 * ONE])
        if random.random() < 0.3:
            to = random.choice([*twin.people, NOBODY, self.world.domain.contract])
            return who, Item("withdraw", (token, to, amount))
        account = random.choice([*twin.people, NOBODY]) if self.rarely() else random.choice(twin.people)
        return who, Item("deposit", (token, account, amount))

    def sign(self) -> None:
        """One more job that its submitter means."""
        world, twin, random = self.world, self.twin, self.random
        token = random.choice([world.token, world.token, NOBODY])
        submitter = random.choice([world.submitter, world.submitter, twin.wallet, world.rival])
        cap = random.choice([0, 1, 9_999, 33 * ONE, 120 * ONE + 7])
        opens = random.choice([-50, 0, 0, 40])
        job = world.job(
            submitter=submitter,
            token=token,
            price_start=Wei(cap // random.choice([1, 2, 3])),
            price_cap=Wei(cap),
            bond=Wei(random.choice([3, 5 * ONE, 5 * ONE + 1])),
            matcher=random.choice([world.matcher, world.matcher, submitter, ZERO_ADDRESS]),
            matcher_fee_bps=random.choice([0, 1, 250, 9_999, 10_000]),
            epoch=twin.model.epochs.get((token, submitter), 0),
            open_at=Timestamp(twin.clock + opens),
            award_by=Timestamp(twin.clock + 300),
            deliver_seconds=random.choice([1, 60, 60]),
            challenge_seconds=random.choice([0, 40, 40]),
        )
        if random.random() < 0.75:
            job = replace(
                job,
                arbiter=world.arbiter,
                dispute_fee=Wei(random.choice([0, 1, 3, 3, job.bond, job.bond // 3])),
                arbiter_data=random.randbytes(32),
                challenge_seconds=40,
                ruling_seconds=random.choice([1, 50]),
            )
        if random.random() < 0.12:
            job = replace(job, **random.choice(MALFORMED))
        self.jobs.append(job)

    def offer(self, job: Job, then: Timestamp) -> Bid:
        world, random = self.world, self.random
        most = ramp(job, then)
        return Bid(
            job=self.id(self.pick()) if self.rarely() else self.id(job),
            provider=random.choice(self.twin.people) if self.rarely() else world.provider,
            price=Wei(random.choice([most, most, most // 2, most + 1])),
            expires_at=Timestamp(then + random.choice([1, 60, 60, 60, 120, 120, 121, 0])),
        )

    def job_signature(self, job: Job) -> bytes:
        """Alone, in a tree with others, or wrong."""
        world, random = self.world, self.random
        key = world.people.get(job.submitter)
        if key is not None and random.random() < 0.3:
            others = [world.job(submitter=job.submitter) for _ in range(random.randrange(1, 4))]
            jobs = [*others, job]
            random.shuffle(jobs)
            tree = signing.sign_jobs(key, jobs, world.domain)[jobs.index(job)]
            return tree[:-32] if self.rarely() else tree
        return self.signed(job.submitter, bytes.fromhex(self.id(job)[2:]))

    def signed(self, signer: Address, digest: bytes) -> bytes:
        """The signer's signature, long or short; a wallet takes its owner's long one."""
        who = signer if signer in self.world.people else self.world.submitter
        if self.rarely():
            who = self.world.stranger
        long = self.world.signed_digest(who, digest)
        s, odd = int.from_bytes(long[32:64]), long[64] - 27
        short = long[:32] + (s | odd << 255).to_bytes(32)
        high = long[:32] + (ORDER - s).to_bytes(32) + bytes([28 - odd])
        good = [long, long, short] if signer == self.twin.wallet else [long, short, short]
        return self.random.choice([b"", bytes(65), high, long[:-1] + b"\x00"] if self.rarely() else good)

    def moment(self, job: Job) -> Timestamp:
        """Soon, or at a border of the job's times, or just before it."""
        terms, now = self.known(job), self.twin.clock
        borders = [job.open_at, job.award_by, terms.deliver_by, terms.window_end, terms.rule_by]
        ahead = [border + step for border in borders for step in (-1, 0) if now < border + step < now + 1_000]
        soon = Timestamp(now + self.random.choice([1, 1, 2, 30]))
        return Timestamp(self.random.choice(ahead)) if ahead and self.random.random() < 0.3 else soon

    def known(self, job: Job) -> Terms:
        """Mostly the terms as they stand; else older ones, or altered ones, or those of another job."""
        known = self.terms.get(self.id(job))
        if known is None:
            known = next(iter(self.terms.values()), [NO_TERMS])
        if not self.rarely():
            return known[-1]
        last, field = known[-1], self.random.choice(["price", "bond", "fee", "dispute_fee", "ruling_seconds"])
        altered = replace(last, **{field: getattr(last, field) + 1})
        return self.random.choice([known[0], altered, replace(last, provider=self.world.stranger)])

    def pick(self) -> Job:
        live = [job for job in self.jobs if self.record(job).state is not JobState.CLOSED]
        return self.random.choice((live[-3:] * 4 + self.jobs[-3:]) or self.jobs)

    def record(self, job: Job) -> Record:
        return self.twin.model.jobs.get(self.id(job), UNKNOWN)

    def id(self, job: Job) -> JobId:
        return self.world.id(job)

    def mostly(self, right: Address) -> Address:
        wrong = right not in self.twin.people or self.rarely()
        return self.random.choice(self.twin.people) if wrong else right

    def rarely(self) -> bool:
        return self.random.random() < 0.07


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NO_TERMS = Terms(
    submitter=ZERO_ADDRESS,
    provider=ZERO_ADDRESS,
    token=ZERO_ADDRESS,
    matcher=ZERO_ADDRESS,
    price=Wei(0),
    bond=Wei(0),
    fee=Wei(0),
    arbiter=ZERO_ADDRESS,
    dispute_fee=Wei(0),
    deliver_by=Timestamp(0),
    challenge_seconds=0,
    ruling_seconds=0,
)
MALFORMED: list[dict[str, Any]] = [
    {"price_start": Wei(200 * ONE)},
    {"deliver_seconds": 0},
    {"spec": bytes(32)},
    {"matcher_fee_bps": 10_001},
    {"epoch": 9},
    {"arbiter": ZERO_ADDRESS, "dispute_fee": Wei(1)},
    {"arbiter": ZERO_ADDRESS, "dispute_fee": Wei(0), "arbiter_data": b"\x01" * 32},
    {"arbiter": ZERO_ADDRESS, "dispute_fee": Wei(0), "arbiter_data": bytes(32), "ruling_seconds": 1},
    {"dispute_fee": Wei(2**95), "bond": Wei(1)},
]
