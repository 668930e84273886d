"""One job on this machine, from the match to the delivery: each step written into the ledger before the
act.
"""

import logging
import shutil
from collections.abc import Callable

from deai import unixfs
from deai.chain import JobAwarded, JobDelivered
from deai.cid import Cid
from deai.errors import ContentMissing, DeaiError, Unavailable, WrongRequest
from deai.job import Bid, Job, JobId, JobState, Timestamp, Wei
from deai.signing import sign_bid
from deai.spec import Spec
from deai_provider import policy, result_folder, room, staging
from deai_provider.bidding import Bidding
from deai_provider.executor import RunState
from deai_provider.ledger import BEFORE_AWARD, UNDER_AWARD, Entry, Step
from deai_provider.relay import Relay
from deai_provider.running import Running
from deai_provider.workshop import Workshop, award_facts, known

_log = logging.getLogger(__name__)
_MAX_PAUSE_SECONDS = 30.0
_LOG_SECONDS = 2.0
_SHARE_SECONDS = 60.0
"""So long before `deliver_by`, the delivery waits for no market any more."""
_UNPROMISED = BEFORE_AWARD - {Step.BIDDING}


class Assignment:
    """Carries one job on from wherever the ledger says it is. Runs in a thread of its own."""

    def __init__(self, shop: Workshop, id_: JobId, released: Callable[[], None] = lambda: None) -> None:
        """`released` is called when the job holds less of the machine's capacity than before."""
        self._shop, self._id, self._released = shop, id_, released
        self._relay = Relay(shop.market, shop.account, id_, lambda offset: shop.executor.logs(id_, offset))
        self._bidding = Bidding(shop, id_)
        self._running = Running(shop, id_, self._relay, self._stands)
        self._acts: dict[Step, Callable[[Entry], object]] = {
            Step.MATCHED: self._consider,
            Step.STAGING: self._stage,
            Step.STAGED: self._bid,
            Step.BIDDING: self._bidding.await_award,
            Step.AWARDED: self._accept,
            Step.RUNNING: self._running.carry,
            Step.COLLECTED: self._publish,
            Step.PUBLISHED: self._share,
            Step.DELIVERING: self._deliver,
        }

    def carry(self) -> None:
        """Works until the job is delivered or ended here, or the agent stops."""
        pause = self._shop.poll_seconds
        while not self._shop.stopping.is_set():
            try:
                if self._advance():
                    return
                pause = self._shop.poll_seconds
                continue
            except (DeaiError, OSError) as error:
                # The bond is at stake, or soon may be: what fails now may work before the deadline.
                if room.is_short(error):
                    self._make_room()
                elif isinstance(error, OSError):
                    _log.exception("%s: this machine failed", self._id)
                _log.warning("%s: %s; again in %.1f s", self._id, error, pause)
            except Exception:  # noqa: BLE001 - a loop's top
                pause = _MAX_PAUSE_SECONDS
                _log.exception("%s: a bug; again in %.1f s", self._id, pause)
            self._shop.stopping.wait(pause)
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)

    def _advance(self) -> bool:
        """One step; whether it was the last one here."""
        entry = self._entry()
        act = self._acts.get(entry.step)
        if act is None:
            self._released()
            self._clear(entry)
            return True
        if self._too_late(entry):
            return False
        try:
            act(entry)
        except (WrongRequest, ContentMissing) as error:
            if entry.step not in _UNPROMISED:
                raise
            self._decline(str(error), Step.FAILED)
        except (Unavailable, OSError) as error:
            if entry.step not in _UNPROMISED or not room.is_short(error):
                raise
            self._make_room()
            self._decline(f"disk: this provider has no room for it now: {error}", Step.FAILED)
        return False

    def _make_room(self) -> None:
        try:
            room.make_room(self._shop)
        except (DeaiError, OSError) as error:
            _log.warning("no room could be made: %s", error)

    # Before the award.

    def _consider(self, entry: Entry) -> None:
        spec = staging.read_spec(self._shop.store, entry.job)
        now = self._shop.now()
        with self._shop.admission:
            price = self._price(entry.job, spec, now)
            if isinstance(price, policy.Refusal):
                self._decline(price.reason)
            else:
                self._shop.move(self._id, Step.STAGING, spec=spec, price=price)

    def _stage(self, entry: Entry) -> None:
        spec = known(entry.spec)
        with self._relay.repeating("Staging", f"{len(spec.inputs)} inputs, image {spec.image}"):
            image = self._running.stage(entry)
        self._shop.move(self._id, Step.STAGED, image=image)

    def _bid(self, entry: Entry) -> None:
        shop = self._shop
        head = shop.chain.head()
        shop.clock.saw(head)
        now = shop.clock.now()
        with shop.admission:
            price = self._price(entry.job, known(entry.spec), now)
            if isinstance(price, policy.Refusal):
                self._decline(price.reason)
                return
            bid = Bid(job=self._id, provider=shop.address, price=price, expires_at=policy.bid_expiry(now))
            shop.move(
                self._id,
                Step.BIDDING,
                price=price,
                expires_at=bid.expires_at,
                bid_signature=sign_bid(shop.account, bid, shop.domain),
                bid_block=head.number,
            )

    # Under the award.

    def _accept(self, entry: Entry) -> None:
        fault = policy.unlike(known(entry.terms), entry.job, known(entry.price))
        if fault is not None:
            self._fail(entry, f"the award is not what was bid: {fault}")
            return
        spec = entry.spec or staging.read_spec(self._shop.store, entry.job)
        self._shop.move(self._id, Step.RUNNING, spec=spec)

    def _publish(self, entry: Entry) -> None:
        shop, result = self._shop, self._shop.folder(self._id) / "result"
        self._released()
        self._relay.observe("Uploading", str(known(entry.exit)))
        try:
            root = unixfs.add(result, shop.store)
        except WrongRequest as error:
            # The job's author made outputs that no result can hold; the exit record says so, and is delivered.
            record = result_folder.without_outputs(result, known(entry.exit), str(error))
            shop.note(self._id, exit=record)
            root = unixfs.add(result, shop.store)
        shop.store.pin(root)
        shop.move(self._id, Step.PUBLISHED, result=str(root))

    def _share(self, entry: Entry) -> None:
        """Hands the result to the market, where others read it, while there is time for that. The market must not be able to burn the bond:
        the delivery needs nobody but the chain, and what it did not take now is offered to it again later.
        """
        shop, terms = self._shop, known(entry.terms)

        def left() -> float:
            return terms.deliver_by - _SHARE_SECONDS - shop.clock.now()

        def ample() -> bool:
            return not shop.stopping.is_set() and left() > 0

        shared = False
        try:
            shared = ample() and shop.store.share(Cid.parse(known(entry.result)), ample, left())
        except (Unavailable, WrongRequest) as error:
            _log.warning("%s: the result is not with the market yet: %s", self._id, error)
        shop.move(self._id, Step.DELIVERING, shared=shared)

    def _deliver(self, entry: Entry) -> None:
        shop = self._shop
        state, _ = shop.chain.state(self._id)
        open_still = state in (JobState.UNKNOWN, JobState.OPEN)
        award = None if open_still else shop.award_event(entry)
        if award is None:
            self._bidding.await_return(entry)
        elif award.terms.provider != shop.address:
            shop.move(self._id, Step.LOST, f"after a reorg awarded to {award.terms.provider}")
        elif state is JobState.AWARDED:
            if shop.deadline_passed(award.terms):
                self._fail(entry, "deliver_by has come")
                return
            digest = Cid.parse(known(entry.result)).digest
            receipt = shop.chain.deliver(shop.account, self._id, award.terms, digest)
            deliveries = [event for event in receipt.events if isinstance(event, JobDelivered)]
            if deliveries:
                self._delivered(award, deliveries[-1])
        else:
            events = shop.chain.events(award.block, shop.chain.head().number, self._id)
            deliveries = [event for event in events if isinstance(event, JobDelivered)]
            if deliveries:
                self._delivered(award, deliveries[-1])
            else:
                self._fail(entry, "reclaimed: deliver_by had come")

    def _delivered(self, award: JobAwarded, delivery: JobDelivered) -> None:
        terms = award.terms.delivered(delivery.result, delivery.window_end)
        self._shop.move(self._id, Step.DELIVERED, **(award_facts(award) | {"terms": terms}))

    # On the way.

    def _entry(self) -> Entry:
        return known(self._shop.ledger.entry(self._id))

    def _decline(self, reason: str, step: Step = Step.DECLINED) -> None:
        """Ends what was no promise yet, and tells the submitter why."""
        self._shop.move(self._id, step, reason)
        self._relay.observe("Declined", " ".join(reason.split()))

    def _fail(self, entry: Entry, reason: str) -> None:
        self._shop.move(self._id, Step.FAILED, reason, earned=Wei(-entry.job.bond))

    def _price(self, job: Job, spec: Spec, now: Timestamp) -> Wei | policy.Refusal:
        shop = self._shop
        return policy.bid(job, spec, shop.rules, shop.room(self._id, job), now)

    def _stands(self) -> bool:
        entry = self._entry()
        return self._bidding.still_ours(entry) and not self._too_late(self._entry())

    def _too_late(self, entry: Entry) -> bool:
        """Ends a job whose deadline has come. A delivery that is being sent looks for itself."""
        if entry.step in (Step.BIDDING, Step.DELIVERING) or entry.step not in self._acts:
            return False
        if entry.terms is not None and entry.step in UNDER_AWARD:
            if self._shop.deadline_passed(entry.terms):
                self._fail(entry, "deliver_by has come")
                return True
        elif self._shop.clock.now() >= entry.job.award_by:
            self._shop.move(self._id, Step.FAILED, "award_by has come")
            return True
        return False

    def _clear(self, entry: Entry) -> None:
        """Leaves nothing of the job on this machine but its row, and of its log what the market lacks."""
        if (
            entry.runs
            and not self._relay.follows
            and self._shop.executor.poll(self._id).state is RunState.EXITED
        ):
            # This thread only clears up after an agent that was killed: the market may lack the end of the log.
            self._relay.follow()
        lacking = self._relay.finish(_LOG_SECONDS)
        if lacking is not None:
            try:
                self._shop.late_logs.keep(self._id, lacking, self._shop.executor.logs(self._id, lacking))
            except OSError as error:
                _log.warning("%s: the rest of the log is lost to the market: %s", self._id, error)
        self._shop.executor.remove(self._id)
        shutil.rmtree(self._shop.folder(self._id), ignore_errors=True)
