"""One job's life on any chain, step by step, for tests that drive all of it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from eth_account.signers.local import LocalAccount

from deai import signing
from deai.chain import Chain, JobAwarded, JobDelivered, JobDisputed, Receipt
from deai.deployment import Deployment
from deai.job import (
    Action,
    Address,
    Bid,
    Job,
    JobState,
    Terms,
    Timestamp,
    Wei,
    award_terms,
)
from deai.localnet import local_account

PRICE, BOND, DISPUTE_FEE = Wei(300), Wei(70), Wei(21)
SHARE = 2_500
"""What a ruling of a life gives the provider, in 1/10,000."""
RESULT = b"\x0b" * 32
AWARD_SECONDS, DELIVER_SECONDS, CHALLENGE_SECONDS, RULING_SECONDS, BID_SECONDS = 1_000, 500, 200, 400, 100

PATHS: dict[JobState, tuple[tuple[Action, ...], ...]] = {
    JobState.UNKNOWN: ((),),
    JobState.OPEN: ((Action.POST,),),
    JobState.AWARDED: ((Action.AWARD,), (Action.POST, Action.AWARD)),
    JobState.DELIVERED: ((Action.AWARD, Action.DELIVER),),
    JobState.DISPUTED: ((Action.AWARD, Action.DELIVER, Action.DISPUTE),),
    JobState.CLOSED: (
        (Action.CANCEL,),
        (Action.POST, Action.CANCEL),
        (Action.AWARD, Action.DELIVER, Action.APPROVE),
        (Action.AWARD, Action.DELIVER, Action.SETTLE),
        (Action.AWARD, Action.DELIVER_AND_CLOSE),
        (Action.AWARD, Action.RECLAIM),
        (Action.AWARD, Action.DELIVER, Action.RULE),
        (Action.AWARD, Action.DELIVER, Action.DISPUTE, Action.RULE),
        (Action.AWARD, Action.DELIVER, Action.DISPUTE, Action.LAPSE),
    ),
}
"""The ways into each state that can be reached."""

_salts = count(1)


@dataclass(frozen=True, slots=True)
class Cast:
    """The parties, by the local chain's well-known keys."""

    submitter: LocalAccount
    provider: LocalAccount
    matcher: LocalAccount
    stranger: LocalAccount
    arbiter: LocalAccount

    def all(self) -> tuple[LocalAccount, ...]:
        """Everybody."""
        return (self.submitter, self.provider, self.matcher, self.stranger, self.arbiter)


CAST = Cast(*(local_account(index) for index in range(1, 6)))


def job_of_cast(deployment: Deployment, now: int, **changes: Any) -> Job:
    """A job that is open from `now` on, with a flat price, a bond, a matcher without a fee, a challenge window and, with one, an arbiter."""
    fields: dict[str, Any] = {
        "submitter": Address(CAST.submitter.address),
        "token": deployment.token("DAI").address,
        "price_start": PRICE,
        "price_cap": PRICE,
        "bond": BOND,
        "matcher": Address(CAST.matcher.address),
        "open_at": Timestamp(now),
        "award_by": Timestamp(now + AWARD_SECONDS),
        "deliver_seconds": DELIVER_SECONDS,
        "challenge_seconds": CHALLENGE_SECONDS,
        "spec": b"\x05" * 32,
        "salt": next(_salts).to_bytes(32),
    }
    if changes.get("challenge_seconds") != 0:
        fields |= {
            "arbiter": Address(CAST.arbiter.address),
            "dispute_fee": DISPUTE_FEE,
            "arbiter_data": b"\x06" * 32,
            "ruling_seconds": RULING_SECONDS,
        }
    return Job(**(fields | changes))


class Life:
    """A job and the right party for each verb. `at` sets the time of the chain's next block."""

    def __init__(
        self, chain: Chain, deployment: Deployment, at: Callable[[int], None], **changes: Any
    ) -> None:
        self.chain, self.deployment, self.at = chain, deployment, at
        self.time = Timestamp(chain.head().time + 1)
        self.job = job_of_cast(deployment, self.time, **changes)
        self.id = signing.job_id(self.job, deployment.domain)
        self.job_signature = signing.sign_job(CAST.submitter, self.job, deployment.domain)
        self._terms: Terms | None = None

    @property
    def terms(self) -> Terms:
        """What the award fixed; before it, what one now would fix."""
        return self._terms or award_terms(self.job, self.bid(), self.time, Address(CAST.provider.address))

    @property
    def state(self) -> JobState:
        """As the chain has it."""
        return self.chain.state(self.id)[0]

    def bid(self, **changes: Any) -> Bid:
        """The provider's bid at the ramp's start, good for a while from now."""
        fields: dict[str, Any] = {
            "job": self.id,
            "provider": Address(CAST.provider.address),
            "price": self.job.price_start,
            "expires_at": Timestamp(self.time + BID_SECONDS),
        }
        return Bid(**(fields | changes))

    def reach(self, path: tuple[Action, ...]) -> "Life":
        """Goes that way, each verb as soon as the clock allows."""
        for action in path:
            self.act(action)
        return self

    def due(self, action: Action) -> Timestamp:
        """The first time, from now on, at which the clock allows the action."""
        match action:
            case Action.RECLAIM:
                return Timestamp(max(self.time + 1, self.terms.deliver_by))
            case Action.SETTLE:
                return Timestamp(max(self.time + 1, self.terms.window_end))
            case Action.LAPSE:
                return Timestamp(max(self.time + 1, self.terms.rule_by))
            case _:
                return Timestamp(self.time + 1)

    def act(self, action: Action, time: int | None = None, signer: LocalAccount | None = None) -> Receipt:
        """The action by its right party, or by `signer`, in a block of that time."""
        self.time = self.due(action) if time is None else Timestamp(time)
        self.at(self.time)
        receipt = self._send(action, signer)
        for event in receipt.events:
            if isinstance(event, JobAwarded):
                self._terms = event.terms
            if isinstance(event, JobDelivered):
                self._terms = self.terms.delivered(event.result, event.window_end)
            if isinstance(event, JobDisputed):
                self._terms = self.terms.disputed(event.disputer, event.rule_by)
        return receipt

    def _send(self, action: Action, signer: LocalAccount | None) -> Receipt:
        match action:
            case Action.POST:
                return self.chain.post(signer or CAST.submitter, self.job)
            case Action.CANCEL:
                return self.chain.cancel(signer or CAST.submitter, self.job)
            case Action.AWARD:
                bid = self.bid()
                signature = signing.sign_bid(CAST.provider, bid, self.deployment.domain)
                return self.chain.award(signer or CAST.provider, self.job, self.job_signature, bid, signature)
            case Action.DELIVER:
                return self.chain.deliver(signer or CAST.provider, self.id, self.terms, RESULT)
            case Action.APPROVE:
                return self.chain.approve(signer or CAST.submitter, self.id, self.terms)
            case Action.SETTLE:
                return self.chain.settle(signer or CAST.stranger, self.id, self.terms)
            case Action.DELIVER_AND_CLOSE:
                provider = Address(CAST.provider.address)
                approval = signing.sign_approval(
                    CAST.submitter, self.id, provider, RESULT, self.deployment.domain
                )
                return self.chain.deliver_and_close(
                    signer or CAST.provider, self.id, self.terms, RESULT, approval
                )
            case Action.DISPUTE:
                return self.chain.dispute(signer or CAST.submitter, self.id, self.terms)
            case Action.RULE:
                return self.chain.rule(signer or CAST.arbiter, self.id, self.terms, SHARE)
            case Action.LAPSE:
                return self.chain.lapse(signer or CAST.stranger, self.id, self.terms)
            case Action.RECLAIM:
                return self.chain.reclaim(signer or CAST.stranger, self.id, self.terms)
