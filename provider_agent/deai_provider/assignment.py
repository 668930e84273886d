"""One job on this machine, from the match to the delivery: each step written into the ledger before the
act.
"""

import logging
import shutil
import time
from collections.abc import Callable
from typing import Any, TypeVar

from deai import unixfs
from deai.chain import JobAwarded, JobDelivered
from deai.cid import Cid
from deai.errors import Bug, ContentMissing, ContractError, Unavailable, WrongRequest
from deai.job import Bid, Job, JobId, JobState, Terms, Timestamp, Wei
from deai.signing import sign_bid
from deai.spec import Spec
from deai.wire import BidJson, SignedBid
from deai_provider import policy, result_folder, staging
from deai_provider.executor import Run, RunState
from deai_provider.ledger import BEFORE_AWARD, UNDER_AWARD, Entry, Step
from deai_provider.relay import Relay
from deai_provider.workshop import Workshop

_log = logging.getLogger(__name__)
_CHAIN_LOOK_POLLS = 8
_MAX_PAUSE_SECONDS = 30.0
_OFFER_POLLS = 20
"""How often a bid that the market or the chain did not take is offered again."""
_LOG_SECONDS = 2.0

T = TypeVar("T")


class Assignment:
    """Carries one job on from wherever the ledger says it is. Runs in a thread of its own."""

    def __init__(self, shop: Workshop, id_: JobId) -> None:
        self._shop, self._id = shop, id_
        self._relay = Relay(shop.market, shop.account, id_, lambda offset: shop.executor.logs(id_, offset))
        self._looked = 0.0
        self._acts: dict[Step, Callable[[Entry], object]] = {
            Step.MATCHED: self._consider,
            Step.STAGING: self._stage,
            Step.STAGED: self._bid,
            Step.BIDDING: self._await_award,
            Step.AWARDED: self._accept,
            Step.RUNNING: self._run,
            Step.COLLECTED: self._publish,
            Step.PUBLISHED: lambda _: self._move(Step.DELIVERING),
            Step.DELIVERING: self._deliver,
        }

    def carry(self) -> None:
        """Works until the job is delivered or ended here, or the agent stops."""
        pause = self._shop.poll_seconds
        while not self._shop.stopping.is_set():
            try:
                entry = self._entry()
                act = self._acts.get(entry.step)
                if act is None:
                    self._clear()
                    return
                if not self._too_late(entry):
                    act(entry)
                pause = self._shop.poll_seconds
            except Unavailable as error:
                if isinstance(error, ContentMissing) and entry.step in BEFORE_AWARD:
                    self._decline(str(error), Step.FAILED)
                    continue
                _log.warning("%s: %s; again in %.1f s", self._id, error, pause)
                self._shop.stopping.wait(pause)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)
            except WrongRequest as error:
                if entry.step in BEFORE_AWARD - {Step.BIDDING}:
                    self._decline(str(error), Step.FAILED)
                    continue
                # The bond is at stake, or soon may be: what fails now may work before the deadline.
                _log.error("%s: %s: %s; again in %.1f s", self._id, entry.step, error, pause)
                self._shop.stopping.wait(pause)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("%s: a bug; again in %.1f s", self._id, _MAX_PAUSE_SECONDS)
                self._shop.stopping.wait(_MAX_PAUSE_SECONDS)

    # Before the award.

    def _consider(self, entry: Entry) -> None:
        spec = staging.read_spec(self._shop.store, entry.job)
        with self._shop.admission:
            price = self._price(entry.job, spec)
            if isinstance(price, policy.Refusal):
                self._decline(price.reason)
            else:
                self._move(Step.STAGING, spec=spec, price=price)

    def _stage(self, entry: Entry) -> None:
        spec = _known(entry.spec)
        with self._relay.repeating("Staging", f"{len(spec.inputs)} inputs, image {spec.image}"):
            image = staging.stage(self._shop, spec, self._shop.folder(self._id))
        self._move(Step.STAGED, image=image)

    def _bid(self, entry: Entry) -> None:
        shop = self._shop
        now = shop.now()
        with shop.admission:
            price = self._price(entry.job, _known(entry.spec))
            if isinstance(price, policy.Refusal):
                self._decline(price.reason)
                return
            bid = Bid(job=self._id, provider=shop.address, price=price, expires_at=policy.bid_expiry(now))
            self._move(
                Step.BIDDING,
                price=price,
                expires_at=bid.expires_at,
                bid_signature=sign_bid(shop.account, bid, shop.domain),
                bid_block=shop.chain.head().number,
            )

    def _await_award(self, entry: Entry) -> None:
        """Waits until the bid is awarded or hopeless. A refusal ends nothing: whoever saw the bid may award it."""
        shop, offer_at = self._shop, 0.0
        while not shop.stopping.is_set():
            now = shop.now()
            award = shop.award(entry)
            if award is not None:
                if award.terms.provider != shop.address:
                    self._move(Step.LOST, f"awarded to {award.terms.provider}")
                    return
                if shop.confirmed(award.block, entry.job, Wei(award.terms.price + award.terms.bond)):
                    self._move(Step.AWARDED, **_award_facts(award))
                    return
            elif shop.chain.state(self._id)[0] is JobState.CLOSED:
                self._move(Step.LOST, "cancelled by its submitter")
                return
            elif policy.hopeless(_known(entry.expires_at), now):
                self._move(Step.LOST, "the bid expired without an award")
                return
            elif time.monotonic() >= offer_at:
                entry = self._offer(entry, now)
                offer_at = time.monotonic() + _OFFER_POLLS * shop.poll_seconds
            shop.stopping.wait(shop.poll_seconds)

    def _offer(self, entry: Entry, now: Timestamp) -> Entry:
        expires_at = _known(entry.expires_at)
        if not entry.posted and now < expires_at:
            entry = self._post(entry)
        if policy.may_award(entry.job, policy.signed_at(expires_at), expires_at, now):
            self._send_award(entry)
        return entry

    def _post(self, entry: Entry) -> Entry:
        """Hands the bid to the market. A market that is away or refuses does not matter: once anyone may
        award, the agent does.
        """
        signed = SignedBid(bid=BidJson.of(self._bid_of(entry)), signature=_known(entry.bid_signature))
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
                shop.account, entry.job, entry.signature, self._bid_of(entry), _known(entry.bid_signature)
            )
        except ContractError as error:
            # Somebody was faster, or it may become possible while the bid lives: the next look tells.
            _log.info("%s: not awarded: %s", self._id, error)

    # Under the award.

    def _accept(self, entry: Entry) -> None:
        terms = _known(entry.terms)
        fault = policy.unlike(terms, entry.job, _known(entry.price))
        if fault is not None:
            self._fail(entry, f"the award is not what was bid: {fault}")
            return
        # An award that came late finds nothing here; an agent that was killed left some of it.
        image = staging.stage(self._shop, _known(entry.spec), self._shop.folder(self._id))
        self._move(Step.RUNNING, image=image)

    def _run(self, entry: Entry) -> None:
        shop, spec = self._shop, _known(entry.spec)
        run = Run(
            job=self._id,
            image=_known(entry.image),
            command=spec.command,
            env=tuple(sorted(spec.env.items())),
            inputs=staging.inputs_folder(shop.folder(self._id)),
            resources=spec.resources,
            max_seconds=spec.max_seconds,
        )
        shop.executor.start(run)
        self._relay.observe("Running", f"for at most {spec.max_seconds} s")
        self._relay.follow()
        while not shop.stopping.is_set():
            status = shop.executor.wait(self._id, shop.poll_seconds)
            if status.state is RunState.EXITED:
                self._collect(self._entry())
                return
            if status.state is not RunState.RUNNING:
                # Somebody removed the container, or the engine made it and died: the run is said again.
                shop.executor.start(run)
                shop.stopping.wait(shop.poll_seconds)
                continue
            if status.started_at is not None and shop.clock.wall() - status.started_at >= spec.max_seconds:
                shop.note(self._id, timed_out=True)
                _log.info("%s: stopped after its %d s", self._id, spec.max_seconds)
                shop.executor.stop(self._id)
            elif not self._still_ours() or self._too_late(self._entry()):
                shop.executor.stop(self._id)
                return

    def _collect(self, entry: Entry) -> None:
        shop = self._shop
        record = result_folder.make(
            shop.folder(self._id) / "result",
            _known(entry.spec),
            _known(entry.image),
            shop.executor.poll(self._id),
            entry.timed_out,
            shop.executor.outputs(self._id),
            lambda offset: shop.executor.logs(self._id, offset),
        )
        self._move(Step.COLLECTED, str(record), exit=record)

    def _publish(self, entry: Entry) -> None:
        shop, result = self._shop, self._shop.folder(self._id) / "result"
        self._relay.observe("Uploading", str(_known(entry.exit)))
        try:
            root = unixfs.add(result, shop.store)
        except WrongRequest as error:
            # The job's author made outputs that no result can hold; the exit record says so, and is delivered.
            record = result_folder.without_outputs(result, _known(entry.exit), str(error))
            shop.note(self._id, exit=record)
            root = unixfs.add(result, shop.store)
        shop.store.pin(root)
        try:
            shop.store.share(root)
        except (Unavailable, WrongRequest) as error:
            # The market must not be able to burn the bond: the delivery needs nobody but the chain.
            _log.warning("%s: the result is not with the market: %s", self._id, error)
        self._move(Step.PUBLISHED, result=str(root))

    def _deliver(self, entry: Entry) -> None:
        shop = self._shop
        state, _ = shop.chain.state(self._id)
        award = shop.award(entry)
        if award is None:
            self._await_return(entry)
        elif award.terms.provider != shop.address:
            self._move(Step.LOST, f"after a reorg awarded to {award.terms.provider}")
        elif state is JobState.AWARDED:
            if self._deadline_passed(award.terms):
                self._fail(entry, "deliver_by has come")
                return
            digest = Cid.parse(_known(entry.result)).digest
            shop.chain.deliver(shop.account, self._id, award.terms, digest)
        else:
            events = shop.chain.events(award.block, shop.chain.head().number, self._id)
            deliveries = [event for event in events if isinstance(event, JobDelivered)]
            if deliveries:
                terms = award.terms.delivered(deliveries[-1].result, deliveries[-1].window_end)
                self._move(Step.DELIVERED, **(_award_facts(award) | {"terms": terms}))
            else:
                self._fail(entry, "reclaimed: deliver_by had come")

    # On the way.

    def _entry(self) -> Entry:
        return _known(self._shop.ledger.entry(self._id))

    def _move(self, step: Step, reason: str = "", **facts: object) -> Entry:
        entry = self._shop.move(self._id, step, reason, **facts)
        _log.info("%s: %s%s", self._id, step, f": {reason}" if reason else "")
        return entry

    def _decline(self, reason: str, step: Step = Step.DECLINED) -> None:
        """Ends what was no promise yet, and tells the submitter why."""
        self._move(step, reason)
        self._relay.observe("Declined", " ".join(reason.split()))

    def _fail(self, entry: Entry, reason: str) -> None:
        self._move(Step.FAILED, reason, earned=Wei(-entry.job.bond))

    def _price(self, job: Job, spec: Spec) -> Wei | policy.Refusal:
        shop = self._shop
        return policy.bid(job, spec, shop.rules, shop.room(self._id, job), shop.now())

    def _bid_of(self, entry: Entry) -> Bid:
        return Bid(
            job=self._id,
            provider=self._shop.address,
            price=_known(entry.price),
            expires_at=_known(entry.expires_at),
        )

    def _too_late(self, entry: Entry) -> bool:
        """Ends a job whose deadline has come. A delivery that is being sent looks for itself."""
        if entry.step in (Step.BIDDING, Step.DELIVERING) or entry.step not in self._acts:
            return False
        if entry.terms is not None and entry.step in UNDER_AWARD:
            if self._deadline_passed(entry.terms):
                self._fail(entry, "deliver_by has come")
                return True
        elif self._shop.clock.now() >= entry.job.award_by:
            self._move(Step.FAILED, "award_by has come")
            return True
        return False

    def _deadline_passed(self, terms: Terms) -> bool:
        """Whether no delivery can be mined any more. This machine's clock may be wrong, so a block must say it."""
        if self._shop.clock.now() < terms.deliver_by:
            return False
        try:
            return self._shop.chain.head().time >= terms.deliver_by
        except Unavailable as error:
            _log.info("%s: tries on: %s", self._id, error)
            return False

    def _still_ours(self) -> bool:
        """Whether the award stands. A reorg that moved it is followed, one that undid it is waited for a
        while.
        """
        shop, now = self._shop, time.monotonic()
        if now - self._looked < _CHAIN_LOOK_POLLS * shop.poll_seconds:
            return True
        self._looked = now
        entry = self._entry()
        try:
            shop.now()
            block = shop.chain.block(_known(entry.award_block))
            if block is not None and block.hash == entry.award_hash:
                return True
            award = shop.award(entry)
        except Unavailable as error:
            _log.info("%s: runs on: %s", self._id, error)
            return True
        if award is None:
            return self._await_return(entry)
        if award.terms.provider != shop.address:
            self._move(Step.LOST, f"after a reorg awarded to {award.terms.provider}")
            return False
        _log.warning("%s: a reorg moved the award to block %d", self._id, award.block)
        shop.note(self._id, **_award_facts(award))
        return True

    def _await_return(self, entry: Entry) -> bool:
        """Whether an award that a reorg undid may still come back: as long as its bid may be awarded."""
        if policy.hopeless(_known(entry.expires_at), self._shop.now()):
            self._move(Step.LOST, "a reorg undid the award, and it did not come back")
            return False
        self._shop.stopping.wait(self._shop.poll_seconds)
        return True

    def _clear(self) -> None:
        """Leaves nothing of the job on this machine but its row."""
        self._relay.finish(_LOG_SECONDS)
        self._shop.executor.remove(self._id)
        shutil.rmtree(self._shop.folder(self._id), ignore_errors=True)


def _award_facts(award: JobAwarded) -> dict[str, Any]:
    return {"terms": award.terms, "award_block": award.block, "award_hash": award.block_hash}


def _known(value: T | None) -> T:
    """A fact that the step promises to be there."""
    if value is None:
        raise Bug("ledger: a fact is missing that an earlier step wrote")
    return value
