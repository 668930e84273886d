"""From a signed bid to its award: offers the bid, looks for the award in the chain, and sends it when nobody else does."""

import logging
import time

from deai.errors import ContractError, Unavailable, WrongRequest
from deai.job import Bid, JobId, JobState, Timestamp, Wei
from deai.wire import BidJson, SignedBid
from deai_provider import policy
from deai_provider.ledger import Entry, Step
from deai_provider.workshop import Workshop, award_facts, known

_log = logging.getLogger(__name__)
_OFFER_POLLS = 20
"""How often a bid that the market or the chain did not take is offered again."""
_FIRST_LOOK_SECONDS, _LOOK_GROWTH = 0.01, 1.5
"""An award mostly follows at once, or not for a while."""


class Bidding:
    """One job's bid."""

    def __init__(self, shop: Workshop, id_: JobId) -> None:
        self._shop, self._id = shop, id_
        self._missing_since: float | None = None
        """When the award was first looked for in vain, by the monotonic clock."""

    def await_award(self, entry: Entry) -> None:
        """Waits until the bid is awarded or hopeless. A refusal ends nothing: whoever saw the bid may award it."""
        shop, offer_at, pause = self._shop, 0.0, _FIRST_LOOK_SECONDS
        while not shop.stopping.is_set():
            state = shop.chain.state(self._id)[0]
            if self._missing_since is None:
                self._missing_since = time.monotonic()
            award = shop.award_event(entry) if state not in (JobState.UNKNOWN, JobState.OPEN) else None
            if award is not None:
                if award.terms.provider != shop.address:
                    shop.move(self._id, Step.LOST, f"awarded to {award.terms.provider}")
                    return
                if shop.confirmed(award.block, entry.job, Wei(award.terms.price + award.terms.bond)):
                    shop.move(self._id, Step.AWARDED, **award_facts(award))
                    return
            elif state is JobState.CLOSED:
                shop.move(self._id, Step.LOST, "cancelled by its submitter")
                return
            elif shop.hopeless(known(entry.expires_at), self._missing_since):
                shop.move(self._id, Step.LOST, "the bid expired without an award")
                return
            elif time.monotonic() >= offer_at:
                entry = self._offer(entry, shop.clock.now())
                offer_at = time.monotonic() + _OFFER_POLLS * shop.poll_seconds
            shop.stopping.wait(pause)
            pause = min(pause * _LOOK_GROWTH, shop.poll_seconds)

    def await_return(self, entry: Entry) -> bool:
        """Whether an award that a reorg undid may still come back: as long as its bid may be awarded. Only a block ends that: a node that
        was restarted has an older head for a while.
        """
        shop = self._shop
        if shop.passed_by(self._id, known(entry.expires_at)):
            shop.move(self._id, Step.LOST, "a reorg undid the award, and it did not come back")
            return False
        shop.stopping.wait(shop.poll_seconds)
        return True

    def still_ours(self, entry: Entry) -> bool:
        """Whether the award stands. A reorg that moved it is followed, one that undid it is waited for a
        while.
        """
        shop = self._shop
        try:
            shop.now()
            block = shop.chain.block(known(entry.award_block))
            if block is not None and block.hash == entry.award_hash:
                return True
            award = shop.award(entry)
            if award is None:
                return self.await_return(entry)
        except Unavailable as error:
            _log.info("%s: runs on: %s", self._id, error)
            return True
        if award.terms.provider != shop.address:
            shop.move(self._id, Step.LOST, f"after a reorg awarded to {award.terms.provider}")
            return False
        _log.warning("%s: a reorg moved the award to block %d", self._id, award.block)
        shop.note(self._id, **award_facts(award))
        return True

    def _offer(self, entry: Entry, now: Timestamp) -> Entry:
        expires_at = known(entry.expires_at)
        if not entry.posted and now < expires_at:
            entry = self._post(entry)
        if policy.may_award(entry.job, policy.signed_at(expires_at), expires_at, now):
            self._send_award(entry)
        return entry

    def _post(self, entry: Entry) -> Entry:
        """Hands the bid to the market. A market that is away or refuses does not matter: once anyone may
        award, the agent does.
        """
        signed = SignedBid(bid=BidJson.of(self._bid_of(entry)), signature=known(entry.bid_signature))
        try:
            self._shop.market.bid(signed)
        except (Unavailable, WrongRequest) as error:
            _log.info("%s: the bid waits: %s", self._id, error)
            return entry
        return self._shop.note(self._id, posted=True)

    def _send_award(self, entry: Entry) -> None:
        shop = self._shop
        _log.info("%s: nobody sent the award of our bid, so we do", self._id)
        try:
            shop.chain.award(
                shop.account, entry.job, entry.signature, self._bid_of(entry), known(entry.bid_signature)
            )
        except ContractError as error:
            # Somebody was faster, or it may become possible while the bid lives: the next look tells.
            _log.info("%s: not awarded: %s", self._id, error)

    def _bid_of(self, entry: Entry) -> Bid:
        return Bid(
            job=self._id,
            provider=self._shop.address,
            price=known(entry.price),
            expires_at=known(entry.expires_at),
        )
