"""Random histories of the escrow: hostile and honest steps, on one chain or on several in lock-step, with the laws checked."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

from eth_account.signers.local import LocalAccount
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from deai import errors, signing
from deai.chain import Chain, Event, JobAwarded, JobClosed, JobDelivered, Receipt
from deai.deployment import Deployment
from deai.escrow import Call
from deai.history import Ledger
from deai.job import (
    ZERO_ADDRESS,
    Address,
    Bid,
    Job,
    JobId,
    JobState,
    Outcome,
    Terms,
    Timestamp,
    Wei,
    award_terms,
    ramp,
)
from deai.testing import MemoryChain
from tests.lives import CAST, RESULT, job_of_cast

FUNDS = Wei(5_000)
PEOPLE = st.sampled_from(CAST.all())
PROVIDERS = st.sampled_from([CAST.provider, CAST.provider, CAST.stranger])
AMOUNTS = st.sampled_from([300, 1, 299, 2_000, 0, 10**25])
SPOILS = st.sampled_from(["", "", "", "", "", "", "empty", "stranger", "garbage"])
MALFORMED: list[dict[str, Any]] = [
    {"price_start": Wei(301)},
    {"deliver_seconds": 0},
    {"spec": bytes(32)},
    {"matcher_fee_bps": 10_001},
    {"epoch": 1},
    {"token": ZERO_ADDRESS},
]


class Stage(Protocol):
    """A chain and a hand on its clock."""

    @property
    def chain(self) -> Chain: ...
    @property
    def deployment(self) -> Deployment: ...
    def at(self, time: int) -> None: ...


@dataclass(slots=True)
class Play:
    """A job in the history, and all that was ever said of it."""

    job: Job
    id: JobId
    known_terms: list[Terms]
    paid: int = 0
    delivered: bool = False


class Histories(RuleBasedStateMachine):
    """Steps on every stage at once. The first stage is the model; the others must answer alike."""

    def __init__(self, model: Stage, *others: Stage) -> None:
        super().__init__()
        assert isinstance(model.chain, MemoryChain)
        self.model = model.chain
        self.stages = (model, *others)
        self.domain = model.deployment.domain
        self.token = model.deployment.token("DAI").address
        self.time = Timestamp(model.chain.head().time)
        self.plays: list[Play] = []
        self.closed: dict[JobId, Outcome] = {}
        self.ledger = Ledger()

    @initialize()
    def fund(self) -> None:
        self.step(1, lambda chain: chain.deposit(CAST.submitter, self.token, FUNDS))
        self.step(1, lambda chain: chain.deposit(CAST.provider, self.token, FUNDS))
        self.play(job_of_cast(self.stages[0].deployment, self.time))

    # One rule, not one for each verb: of many rules Hypothesis leaves out some in each history, and few would see an award.
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        steps: dict[str, tuple[int, Callable[[st.DataObject], None]]] = {
            "proceed": (8, self.proceed),
            "sign": (3, self.sign),
            "award": (3, self.award),
            "bid": (1, self.bid),
            "post": (2, self.post),
            "cancel": (1, self.cancel),
            "deliver": (2, self.deliver),
            "approve": (2, self.approve),
            "settle": (2, self.settle),
            "reclaim": (2, self.reclaim),
            "deposit": (1, self.deposit),
            "withdraw": (1, self.withdraw),
        }
        name = data.draw(
            st.sampled_from([name for name, (weight, _) in steps.items() for _ in range(weight)])
        )
        steps[name][1](data)

    # Steps.

    def deposit(self, data: st.DataObject) -> None:
        who, amount = data.draw(PEOPLE), data.draw(AMOUNTS)
        self.step(1, lambda chain: chain.deposit(who, self.token, Wei(amount)))

    def withdraw(self, data: st.DataObject) -> None:
        who, to, amount = data.draw(PEOPLE), data.draw(PEOPLE), data.draw(AMOUNTS)
        self.step(1, lambda chain: chain.withdraw(who, self.token, Address(to.address), Wei(amount)))

    def sign(self, data: st.DataObject) -> None:
        submitter = data.draw(st.sampled_from([CAST.submitter] * 4 + [CAST.provider]))
        fields = {
            "submitter": Address(submitter.address),
            "bond": Wei(data.draw(st.sampled_from([70, 0, 70, 9_000]))),
            "price_cap": Wei(300 + data.draw(st.sampled_from([0, 900]))),
            "matcher_fee_bps": data.draw(st.sampled_from([0, 1, 2_500, 10_000])),
            "open_at": Timestamp(self.time + data.draw(st.sampled_from([0, 0, 60]))),
            "challenge_seconds": data.draw(st.sampled_from([200, 1, 0])),
        }
        malformed = data.draw(st.sampled_from([{}] * 20 + MALFORMED))
        self.play(job_of_cast(self.stages[0].deployment, self.time, **(fields | malformed)))

    def post(self, data: st.DataObject) -> None:
        play = self.pick(data)
        signer = self.right_or_any(data, play.job.submitter)
        self.step(self.pause(data, play), lambda chain: chain.post(signer, play.job))

    def cancel(self, data: st.DataObject) -> None:
        play = self.pick(data)
        signer = self.right_or_any(data, play.job.submitter)
        self.step(self.pause(data, play), lambda chain: chain.cancel(signer, play.job))

    def bid(self, data: st.DataObject) -> None:
        play, pause, provider = self.pick(data), 1, data.draw(PROVIDERS)
        bid = self.offer(data, play, provider, pause)
        self.step(pause, lambda chain: chain.bid(provider, bid))

    def award(self, data: st.DataObject) -> None:
        play, who, provider = self.pick(data), data.draw(PEOPLE), data.draw(PROVIDERS)
        pause = self.pause(data, play)
        bid = self.offer(data, play, provider, pause)
        self.join(play, who, pause, bid, data.draw(SPOILS), data.draw(SPOILS))

    def deliver(self, data: st.DataObject) -> None:
        play = self.pick(data)
        terms, result = self.terms(data, play), data.draw(st.sampled_from([RESULT, RESULT, bytes(32)]))
        signer = self.right_or_any(data, terms.provider)
        self.step(self.pause(data, play), lambda chain: chain.deliver(signer, play.id, terms, result))

    def approve(self, data: st.DataObject) -> None:
        play = self.pick(data)
        terms = self.terms(data, play)
        signer = self.right_or_any(data, terms.submitter)
        self.step(self.pause(data, play), lambda chain: chain.approve(signer, play.id, terms))

    def settle(self, data: st.DataObject) -> None:
        play, who = self.pick(data), data.draw(PEOPLE)
        terms = self.terms(data, play)
        self.step(self.pause(data, play), lambda chain: chain.settle(who, play.id, terms))

    def reclaim(self, data: st.DataObject) -> None:
        play, who = self.pick(data), data.draw(PEOPLE)
        terms = self.terms(data, play)
        self.step(self.pause(data, play), lambda chain: chain.reclaim(who, play.id, terms))

    def proceed(self, data: st.DataObject) -> None:
        """What honest parties do next: without it, few random histories would get beyond an award."""
        play, by_matcher = self.pick(data), data.draw(st.booleans())
        terms, in_time = play.known_terms[-1], data.draw(st.sampled_from([True, True, False]))
        match self.model.state(play.id)[0]:
            case JobState.UNKNOWN | JobState.OPEN:
                pause = 1 if by_matcher else max(1, play.job.open_at - self.time)
                bid = Bid(
                    job=play.id,
                    provider=Address(CAST.provider.address),
                    price=play.job.price_start,
                    expires_at=Timestamp(self.time + pause + 100),
                )
                self.join(play, CAST.matcher if by_matcher else CAST.provider, pause, bid, "", "")
            case JobState.AWARDED if in_time:
                provider = self.key(terms.provider)
                self.step(1, lambda chain: chain.deliver(provider, play.id, terms, RESULT))
            case JobState.AWARDED:
                pause = max(1, terms.deliver_by - self.time)
                self.step(pause, lambda chain: chain.reclaim(CAST.stranger, play.id, terms))
            case JobState.DELIVERED if in_time:
                submitter = self.key(terms.submitter)
                self.step(1, lambda chain: chain.approve(submitter, play.id, terms))
            case JobState.DELIVERED:
                pause = max(1, terms.window_end - self.time)
                self.step(pause, lambda chain: chain.settle(CAST.stranger, play.id, terms))

    def join(self, play: Play, who: LocalAccount, pause: int, bid: Bid, *spoils: str) -> None:
        """An award of the bid, with its signatures spoiled that way."""
        submitter, provider = self.key(play.job.submitter), self.key(bid.provider)
        job_spoil, bid_spoil = spoils
        job_signature = spoiled(
            job_spoil, lambda key: signing.sign_job(key, play.job, self.domain), submitter
        )
        bid_signature = spoiled(bid_spoil, lambda key: signing.sign_bid(key, bid, self.domain), provider)
        self.step(pause, lambda chain: chain.award(who, play.job, job_signature, bid, bid_signature))

    # What steps are made of.

    def play(self, job: Job) -> None:
        never = Bid(job=JobId(""), provider=ZERO_ADDRESS, price=Wei(0), expires_at=Timestamp(0))
        terms = award_terms(job, never, self.time, ZERO_ADDRESS)
        self.plays.append(Play(job, signing.job_id(job, self.domain), [terms]))

    def right_or_any(self, data: st.DataObject, right: Address) -> LocalAccount:
        return data.draw(st.sampled_from([self.key(right)] * 3 + list(CAST.all())))

    def pick(self, data: st.DataObject) -> Play:
        live = [play for play in self.plays if play.id not in self.closed]
        return data.draw(st.sampled_from(live[-2:] * 4 + self.plays[-2:]))

    def pause(self, data: st.DataObject, play: Play) -> int:
        """Some seconds, or those to a border of the job's times, or to just before it."""
        terms = play.known_terms[-1]
        borders = (play.job.open_at, play.job.award_by, terms.deliver_by, terms.window_end)
        ahead = [border - self.time + step for border in borders for step in (-1, 0)]
        return data.draw(st.sampled_from([1, 1, 1, 2, 30, 121, *(pause for pause in ahead if pause > 0)]))

    def terms(self, data: st.DataObject, play: Play) -> Terms:
        """Mostly those the job stands at; else older ones, or altered ones."""
        last = play.known_terms[-1]
        altered = replace(last, price=Wei(last.price + 1))
        return data.draw(st.sampled_from([last, last, last, last, play.known_terms[0], altered]))

    def offer(self, data: st.DataObject, play: Play, provider: LocalAccount, pause: int) -> Bid:
        then = Timestamp(self.time + pause)
        most = ramp(play.job, then) if play.job.award_by > play.job.open_at else play.job.price_cap
        other = self.plays[0].id
        return Bid(
            job=data.draw(st.sampled_from([play.id, play.id, play.id, play.id, other])),
            provider=Address(provider.address),
            price=Wei(data.draw(st.sampled_from([0, 300, 300, most, most + 1]))),
            expires_at=Timestamp(then + data.draw(st.sampled_from([100, 120, 120, 1, 121, 0]))),
        )

    def key(self, address: Address) -> LocalAccount:
        return next((each for each in CAST.all() if Address(each.address) == address), CAST.stranger)

    def step(self, pause: int, act: Callable[[Chain], Receipt]) -> None:
        """The same act at the same time on every stage; all must answer alike."""
        self.time = Timestamp(self.time + pause)
        answers = [self.answer(stage, act) for stage in self.stages]
        assert all(answer == answers[0] for answer in answers), answers
        said, events = answers[0]
        for event in events if said == "done" else ():
            self.follow(event)

    def answer(self, stage: Stage, act: Callable[[Chain], Receipt]) -> tuple[str, tuple[Any, ...]]:
        stage.at(self.time)
        try:
            receipt = act(stage.chain)
        except errors.BadField as error:
            return "BadField", (error.field,)
        except errors.ContractError as error:
            return type(error).__name__, error.args
        return "done", tuple(
            replace(event, block=0, block_hash="", tx="", index=index)
            for index, event in enumerate(receipt.events)
        )

    def follow(self, event: Event) -> None:
        self.ledger.apply(event)
        play = next((play for play in self.plays if play.id == getattr(event, "id", None)), None)
        if play is None:
            return
        if isinstance(event, JobAwarded):
            play.known_terms.append(event.terms)
        if isinstance(event, JobDelivered):
            assert self.time < play.known_terms[-1].deliver_by
            play.known_terms.append(play.known_terms[-1].delivered(event.result, event.window_end))
            play.delivered = True
        if isinstance(event, JobClosed):
            self.close(play, event)

    # The laws.

    def close(self, play: Play, event: JobClosed) -> None:
        """Nobody is paid twice, or profits from a fault; what comes in goes out; who delivered in time keeps its bond."""
        terms, paid = play.known_terms[-1], event.payout
        play.paid += 1
        assert play.paid == 1
        assert (
            sum((paid.to_submitter, paid.to_provider, paid.to_matcher, paid.burned))
            == terms.price + terms.bond
        )
        assert paid.to_submitter <= terms.price
        if play.delivered:
            assert paid.to_provider >= terms.bond
            assert paid.burned == 0

    @invariant()
    def every_token_is_accounted_for(self) -> None:
        escrow = self.model.escrow()
        held = escrow.held[self.token].get(self.domain.contract, 0)
        balances = sum(amount for (token, _), amount in escrow.balances.items() if token == self.token)
        assert held == balances + escrow.locked(self.token) + escrow.burned.get(self.token, 0)
        assert all(amount >= 0 for amount in escrow.balances.values())

    @invariant()
    def a_closed_job_never_changes(self) -> None:
        for play in self.plays:
            state, outcome = self.model.state(play.id)
            if state is JobState.CLOSED:
                assert self.closed.setdefault(play.id, outcome) is outcome
            else:
                assert play.id not in self.closed

    @invariant()
    def the_events_alone_rebuild_every_stage(self) -> None:
        for stage in self.stages:
            for account in CAST.all():
                address = Address(account.address)
                assert stage.chain.balance(self.token, address) == self.ledger.balances[self.token, address]
            assert stage.chain.burned(self.token) == self.ledger.burned[self.token]
            for play in self.plays:
                record = self.ledger.jobs[play.id]
                assert stage.chain.state(play.id) == (record.state, record.outcome)
        assert self.ledger.locked(self.token) == self.model.escrow().locked(self.token)

    def teardown(self) -> None:
        """From every live state someone can end the job without the other party's help."""
        for play in self.plays:
            escrow, terms = copy(self.model.escrow()), play.known_terms[-1]
            match self.model.state(play.id)[0]:
                case JobState.UNKNOWN | JobState.OPEN:
                    escrow.cancel(Call(play.job.submitter, self.time), play.job)
                case JobState.AWARDED:
                    later = Timestamp(max(self.time, terms.deliver_by))
                    escrow.reclaim(Call(terms.submitter, later), play.id, terms)
                case JobState.DELIVERED:
                    later = Timestamp(max(self.time, terms.window_end))
                    escrow.settle(Call(terms.provider, later), play.id, terms)
            assert escrow.jobs[play.id].state is JobState.CLOSED


def spoiled(how: str, sign: Callable[[LocalAccount], bytes], signer: LocalAccount) -> bytes:
    """A signature, or what an attacker or a bug would make of it."""
    match how:
        case "empty":
            return b""
        case "stranger":
            return sign(CAST.matcher)
        case "garbage":
            return b"\x07" * 64 + b"\x1c"
        case _:
            return sign(signer)
