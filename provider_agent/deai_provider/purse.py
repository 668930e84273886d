"""Sees to it that delivered jobs are paid: settles what nobody else did, and takes earnings out of the
escrow.
"""

import logging
import time
from collections.abc import Container
from typing import Literal

from deai.chain import JobClosed, JobDisputed
from deai.clock import utc
from deai.errors import ContractError, WrongRequest
from deai.job import JobId, JobState, Outcome, Terms, Timestamp, Wei
from deai.signing import job_id
from deai_provider import policy
from deai_provider.ledger import Entry, Step
from deai_provider.workshop import REORG_BLOCKS, Workshop, known, terms_after

_log = logging.getLogger(__name__)
_FIRST_LOOK_POLLS, _LOOK_GROWTH, _LAST_LOOK_POLLS = 8, 2, 120
_WINDOW_LOOK_POLLS = 20
"""A job whose window is over is looked at this often: the first to settle it may be us."""


class Purse:
    """The provider's side of the money. Every call raises ChainUnavailable when the node is away; say it
    again later.
    """

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._looks: dict[JobId, tuple[float, float]] = {}
        """When to look next at each delivered job, by the monotonic clock, and how long after that again."""

    def is_due(self, entry: Entry) -> bool:
        """Whether a delivered job is to be looked at now: ever more rarely, and once its window, or its arbiter's time, is over."""
        polls, now = self._shop.poll_seconds, time.monotonic()
        at, pause = self._looks.get(entry.id, (now, _FIRST_LOOK_POLLS * polls))
        over = entry.terms is not None and entry.terms.deadline <= self._shop.clock.now()
        if now < at and not (over and at - now > _WINDOW_LOOK_POLLS * polls):
            return False
        after = _WINDOW_LOOK_POLLS * polls if over else min(pause * _LOOK_GROWTH, _LAST_LOOK_POLLS * polls)
        self._looks[entry.id] = now + (after if over else pause), after
        return True

    def forget_all_but(self, ids: Container[JobId]) -> None:
        """Drops what it knew of jobs that are no longer waited for."""
        self._looks = {id_: look for id_, look in self._looks.items() if id_ in ids}

    def collect(self, entry: Entry) -> bool:
        """Looks at one delivered job: settles it once its window is over, follows a dispute, and ends a case whose arbiter is silent.
        Whether it closed, deep enough in the chain.
        """
        shop = self._shop
        state, outcome = shop.chain.state(entry.id)
        if state is JobState.AWARDED:
            shop.move(entry.id, Step.DELIVERING, "a reorg undid the delivery")
            return False
        if _rests(entry, state, shop.clock.now()):
            return False
        first = max(0, (entry.award_block or 0) - REORG_BLOCKS)
        events = shop.chain.events(first, shop.chain.head().number, entry.id)
        if state is JobState.DELIVERED:
            self._delivered(entry, terms_after(events))
            return False
        if state is JobState.DISPUTED:
            self._disputed(entry, terms_after(events))
            return False
        if state is not JobState.CLOSED:
            if entry.expires_at is not None and shop.passed_by(entry.id, entry.expires_at):
                shop.move(entry.id, Step.LOST, "a reorg undid the award, and it did not come back")
            return False
        closed = [event for event in events if isinstance(event, JobClosed)]
        if not closed or not shop.confirmed(closed[-1].block, entry.job, entry.price or Wei(0)):
            return False
        earned = Wei(closed[-1].payout.to_provider - entry.job.bond)
        told = _OUTCOMES.get(outcome, outcome.name.lower())
        if any(isinstance(event, JobDisputed) for event in events):
            told += " after a dispute"
        shop.move(entry.id, Step.DONE, told, earned=earned)
        _log.info("%s: done: %s, earned %d of %s", entry.id, told, earned, entry.job.token)
        return True

    def _delivered(self, entry: Entry, terms: Terms | None) -> None:
        if terms is None:
            return
        if entry.step is Step.DISPUTED:
            self._shop.move(entry.id, Step.DELIVERED, "a reorg undid the dispute", terms=terms)
        if terms.window_end <= self._shop.now():
            self._try("settle", entry.id, terms)

    def _disputed(self, entry: Entry, terms: Terms | None) -> None:
        """Offers the result to the market again, so that whoever judges it finds it, and sees to it that the case is judged."""
        shop = self._shop
        if terms is None:
            return
        if entry.step is Step.DELIVERED:
            told = f"until {utc(terms.rule_by)} {terms.arbiter} may rule"
            entry = shop.move(entry.id, Step.DISPUTED, told, terms=terms, shared=False)
        elif entry.terms != terms:
            shop.note(entry.id, terms=terms)
        if terms.rule_by <= shop.now():
            self._try("lapse", entry.id, terms)
        elif shop.panel is not None and terms.arbiter == shop.panel.contract:
            self._open(entry, terms)

    def _open(self, entry: Entry, terms: Terms) -> None:
        """A case that nobody opens is never ruled, and then half the price is lost."""
        panel = known(self._shop.panel)
        if panel.case(entry.id) is not None or job_id(entry.job, self._shop.domain) != entry.id:
            return
        _log.info("%s: nobody opened its case, so we do", entry.id)
        try:
            panel.open(self._shop.account, entry.job, terms)
        except WrongRequest as error:
            _log.info("%s: its case was not opened: %s", entry.id, error)

    def withdraw(self) -> None:
        """Takes out what is above the thresholds, but for the bonds of the next jobs."""
        rules = self._shop.rules
        for token, above in rules.withdraw_above.items():
            kept = Wei(rules.max_bond.get(token, Wei(0)) * rules.slots)
            amount = policy.withdrawal(self._shop.chain.balance(token, self._shop.address), above, kept)
            if amount:
                _log.info("withdrawing %d of %s to %s", amount, token, rules.withdraw_to)
                self._shop.chain.withdraw(self._shop.account, token, rules.withdraw_to, amount)

    def _try(self, verb: Literal["settle", "lapse"], id_: JobId, terms: Terms) -> None:
        _log.info("%s: nobody closed it, so we %s", id_, verb)
        send = self._shop.chain.settle if verb == "settle" else self._shop.chain.lapse
        try:
            send(self._shop.account, id_, terms)
        except ContractError as error:
            # Somebody was faster, or the chain's clock is a little behind: the next look tells.
            _log.info("%s: no %s: %s", id_, verb, error)


def _rests(entry: Entry, state: JobState, now: Timestamp) -> bool:
    """Whether the job is where the ledger has it, and waits for its deadline."""
    here = (state, entry.step) == (JobState.DELIVERED, Step.DELIVERED)
    return here and entry.terms is not None and now < entry.terms.window_end


_OUTCOMES = {Outcome.PAID: "paid", Outcome.REFUNDED: "refunded", Outcome.SPLIT: "split"}
