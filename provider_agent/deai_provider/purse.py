"""Sees to it that delivered jobs are paid: settles what nobody else did, and takes earnings out of the
escrow.
"""

import logging

from deai.chain import JobAwarded, JobClosed, JobDelivered
from deai.errors import ContractError
from deai.job import JobState, Outcome, Terms, Wei
from deai_provider import policy
from deai_provider.ledger import Entry, Step
from deai_provider.workshop import REORG_BLOCKS, Workshop

_log = logging.getLogger(__name__)


class Purse:
    """The provider's side of the money. Every call raises ChainUnavailable when the node is away; say it
    again later.
    """

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    def collect(self, entry: Entry) -> bool:
        """Looks at one delivered job: settles it once its window is over. Whether it closed, deep enough in
        the chain.
        """
        shop = self._shop
        state, outcome = shop.chain.state(entry.id)
        if state is JobState.AWARDED:
            shop.move(entry.id, Step.DELIVERING, "a reorg undid the delivery")
            return False
        first = max(0, (entry.award_block or 0) - REORG_BLOCKS)
        events = shop.chain.events(first, shop.chain.head().number, entry.id)
        if state is JobState.DELIVERED:
            terms = None
            for event in events:
                match event:
                    case JobAwarded():
                        terms = event.terms
                    case JobDelivered() if terms is not None:
                        terms = terms.delivered(event.result, event.window_end)
            if terms is not None and terms.window_end <= shop.now():
                self._settle(entry, terms)
            return False
        if state is not JobState.CLOSED:
            if entry.expires_at is not None and policy.hopeless(entry.expires_at, shop.now()):
                shop.move(entry.id, Step.LOST, "a reorg undid the award, and it did not come back")
            return False
        closed = [event for event in events if isinstance(event, JobClosed)]
        if not closed or not shop.confirmed(closed[-1].block, entry.job, entry.price or Wei(0)):
            return False
        earned = Wei(closed[-1].payout.to_provider - entry.job.bond)
        shop.move(entry.id, Step.DONE, _OUTCOMES.get(outcome, outcome.name.lower()), earned=earned)
        _log.info("%s: done: %s, earned %d of %s", entry.id, outcome.name.lower(), earned, entry.job.token)
        return True

    def withdraw(self) -> None:
        """Takes out what is above the thresholds, but for the bonds of the next jobs."""
        rules = self._shop.rules
        for token, above in rules.withdraw_above.items():
            kept = Wei(rules.max_bond.get(token, Wei(0)) * rules.slots)
            amount = policy.withdrawal(self._shop.chain.balance(token, self._shop.address), above, kept)
            if amount:
                _log.info("withdrawing %d of %s to %s", amount, token, rules.withdraw_to)
                self._shop.chain.withdraw(self._shop.account, token, rules.withdraw_to, amount)

    def _settle(self, entry: Entry, terms: Terms) -> None:
        _log.info("%s: nobody closed it, so we settle", entry.id)
        try:
            self._shop.chain.settle(self._shop.account, entry.id, terms)
        except ContractError as error:
            # Somebody was faster, or the chain's clock is a little behind: the next look tells.
            _log.info("%s: not settled: %s", entry.id, error)


_OUTCOMES = {Outcome.PAID: "paid", Outcome.REFUNDED: "refunded", Outcome.SPLIT: "split"}
