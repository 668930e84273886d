"""Submitter: drafts, signs and submits jobs, follows them, fetches results, approves, and gets money back. What most users touch.

submitter = Submitter(account, deployment, chain, market, store, Home(folder))
draft = submitter.draft(JobFile.parse({...}))
job = submitter.submit(draft)
result = submitter.results(job, Path("out"))
submitter.approve(job)
"""

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from deai import callback, unixfs
from deai.case_history import Standing
from deai.chain import Chain, JobAwarded, JobClosed, JobDelivered, JobDisputed, Receipt
from deai.cid import Cid, Codec
from deai.content import Content
from deai.deployment import Deployment
from deai.draft import Draft, Drafts
from deai.endings import Endings, exit_record
from deai.errors import BadField, ContentMissing, DeaiError, Unavailable, WrongRequest, WrongState
from deai.home import Home
from deai.job import (
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Address,
    JobId,
    JobState,
    Outcome,
    Payout,
    Terms,
)
from deai.job_file import JobFile
from deai.market_api import MarketApi
from deai.panel import Panel
from deai.panel_errors import TooLate
from deai.progress import Metered, Moved, unmoved
from deai.result import ExitRecord
from deai.signing import job_id, sign_approval, sign_jobs
from deai.spec import Spec
from deai.store import Block, Store
from deai.unixfs import Fetched, Limits
from deai.wire import CallbackView, JobJson, JobView, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A job as the chain has it."""

    state: JobState
    outcome: Outcome = Outcome.NONE
    terms: Terms | None = None
    """From the award on; with the result from the delivery on."""
    payout: Payout | None = None

    @property
    def name(self) -> str:
        """The state in one word: `Awarded`, `Delivered`, or how it ended: `Paid`, `Refunded`."""
        return (self.outcome if self.state is JobState.CLOSED else self.state).name.capitalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A fetched and verified result."""

    cid: Cid
    folder: Path
    exit_record: ExitRecord | None
    """How the run ended, as the provider says; None when the result holds no readable record."""
    bytes: int
    files: int


class Submitter:
    """A submitter's whole dealings with a market and its escrow, for one key."""

    def __init__(
        self,
        account: LocalAccount,
        deployment: Deployment,
        chain: Chain,
        market: MarketApi,
        store: Content,
        home: Home,
        panel: Panel | None = None,
    ) -> None:
        """`panel` is the deployment's, where it has one: it is asked before a job names it as its arbiter, and opens the cases of disputes."""
        self.account, self.deployment = account, deployment
        self.chain, self.market, self.store, self.home, self.panel = chain, market, store, home, panel
        self._drafts = Drafts(
            submitter=self.address,
            deployment=deployment,
            chain=chain,
            market=market,
            store=store,
            home=home,
            panel=panel,
        )

    @property
    def address(self) -> Address:
        """The account that pays."""
        return Address(self.account.address)

    # Before the award.

    def draft(self, file: JobFile) -> Draft:
        """Checks everything about a job and finds what it would cost. Signs nothing, sends nothing.

        Raises BadField for a field that is wrong, a cap above the balance, or a setting in which cheating pays; ContentMissing for an input that
        is not in the store, BadContent for an image that is not what its registry says, RegistryUnavailable, MarketUnavailable,
        ChainUnavailable, StoreUnavailable.
        """
        return self._drafts.draft(file)

    def submit(self, draft: Draft) -> JobId:
        """Hands the job's content to the market, signs the job, keeps a copy of the order, and hands that to the market. Locks no money.

        When the market does not take the content, nothing is signed; when it does not answer to the order, the copy is there: `resubmit`
        sends it again.
        """
        (job,) = self.submit_many([draft])
        return job

    def submit_many(self, drafts: Sequence[Draft]) -> list[JobId]:
        """`submit` for many jobs, by one signature: one question of a wallet. Each order stands for itself, in the market and in the escrow.

        When the market does not take one of the orders, the error's notes name it and those after it: they are to be sent again.
        """
        for draft in drafts:
            self._drafts.check(draft.job)
        for draft in drafts:
            self._share_unsigned(draft.spec)
        domain = self.deployment.domain
        signatures = sign_jobs(self.account, [draft.job for draft in drafts], domain)
        orders = [self._keep(draft, signature) for draft, signature in zip(drafts, signatures, strict=True)]
        for place, (_, order) in enumerate(orders):
            try:
                self.market.submit(order, self.account)
            except DeaiError as error:
                for job, _ in orders[place:]:
                    # The market may have taken it and only its answer be lost: a second draft would be a second job.
                    error.add_note(
                        f"the order is signed and kept: `deai submit again {job}` sends it, `deai cancel {job}` ends it"
                    )
                raise
        return [job for job, _ in orders]

    def post(self, draft: Draft) -> JobId:
        """Puts the job on chain: an authorisation that needs no signature, and no market but for the content. Locks no money.

        Raises what `submit` does for the content, and ContractError, ChainUnavailable.
        """
        self._drafts.check(draft.job)
        if draft.callback_url is not None:
            raise BadField(
                "callback_url",
                draft.callback_url,
                "goes with a signed order only: a market finds a posted job on the chain",
            )
        self.store.put([Block(draft.spec.cid(), draft.spec.canonical())])
        self._share_unsigned(draft.spec)
        self.store.share(draft.spec.cid())
        job, _ = self._keep(draft, b"")
        try:
            self.chain.post(self.account, draft.job)
        except WrongRequest:
            self.home.forget_order(job)
            raise
        except Unavailable as error:
            error.add_note(
                f"it may be on chain all the same: `deai status {job}` tells, `deai cancel {job}` ends it"
            )
            raise
        return job

    def resubmit(self, job: JobId) -> None:
        """Hands the market a job's content and the kept copy of its order once more; a posted job's order is on the chain. Harmless if the
        market has them."""
        order = self.home.order(job)
        spec = Spec.parse(order.spec.encode())
        self._share(spec)
        if order.signature:
            self.market.submit(order, self.account)
        else:
            self.store.share(spec.cid())

    def cancel(self, job: JobId) -> Receipt:
        """Ends a job that was not awarded: nobody can award it any more. Raises WrongState once it was."""
        return self.chain.cancel(self.account, self.home.order(job).job.value())

    def cancel_all(self, token: Address) -> Receipt:
        """Ends all jobs in `token` that were not awarded, those signed and those posted, wherever they are."""
        return self.chain.cancel_all(self.account, token)

    def _keep(self, draft: Draft, signature: bytes) -> tuple[JobId, Order]:
        spec = draft.spec.canonical()
        self.store.put([Block(draft.spec.cid(), spec)])
        order = Order(
            job=JobJson.of(draft.job),
            signature=signature,
            spec=spec.decode(),
            callback_url=draft.callback_url,
            callback_secret=callback.new_secret() if draft.callback_url else None,
        )
        job = job_id(draft.job, self.deployment.domain)
        self.home.save_order(job, order)
        return job, order

    # Following.

    def progress(self, job: JobId) -> Progress:
        """The job as the chain alone tells it."""
        state, outcome = self.chain.state(job)
        terms, payout = None, None
        if state not in (JobState.UNKNOWN, JobState.OPEN):
            for event in self.chain.events(self.deployment.block, self.chain.head().number, job):
                match event:
                    case JobAwarded():
                        terms = event.terms
                    case JobDelivered() if terms is not None:
                        terms = terms.delivered(event.result, event.window_end)
                    case JobDisputed() if terms is not None:
                        terms = terms.disputed(event.disputer, event.rule_by)
                    case JobClosed():
                        payout = event.payout
        return Progress(state=state, outcome=outcome, terms=terms, payout=payout)

    def ends(self, results: Iterable[Cid]) -> dict[Cid, str]:
        """How those runs ended, in brief, as far as their results can be had now: `exit 3`, `timed out`."""
        return Endings(self.store, self.home.folder).of(results)

    def view(self, job: JobId) -> JobView:
        """The job as the market sees it: the chain's state, and the market's own observations."""
        return self.market.job(job)

    def callback(self, job: JobId) -> CallbackView | None:
        """What became of the job's callback, as the market says; None for a job that asked for none, or was not signed here."""
        if job not in self.home.orders() or self.home.order(job).callback_url is None:
            return None
        return self.market.callback(self.account, job)

    def wait(self, job: JobId, *states: JobState, timeout: float) -> Progress:
        """Waits until the chain has the job in one of `states`, or closed. Raises WrongState with the state after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            state, _ = self.chain.state(job)
            if state in (*states, JobState.CLOSED):
                return self.progress(job)
            if time.monotonic() > deadline:
                raise WrongState(job, state)
            time.sleep(0.05)

    # After the delivery.

    def results(
        self, job: JobId, target: Path, limits: Limits | None = None, moved: Moved = unmoved
    ) -> Result:
        """Fetches the delivered result into `target`, block by block against its CID. Nothing half-written stays.
        `moved` is told of each block's bytes.

        Raises WrongState before the delivery, ContentMissing if nobody has the content, BadContent for content beyond the limits.
        """
        terms = self.terms(job)
        if terms.result == ZERO_DIGEST:
            raise WrongState(job, JobState.AWARDED)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BadField("output", str(target), "is not an empty folder")
        cid = Cid(Codec.DAG_PB, terms.result)
        try:
            record = exit_record(self.store, cid)
            fetched = self._fetch(Metered(self.store, moved), cid, target, limits or Limits())
        except ContentMissing as error:
            error.add_note(
                "it is delivered on chain; its provider may still be handing it to the market: try again"
            )
            raise
        except OSError as error:
            raise BadField("output", str(target), f"cannot be written: {error.strerror}") from error
        self.home.remember_result(job, terms.provider, cid)
        return Result(cid=cid, folder=target, exit_record=record, bytes=fetched.bytes, files=fetched.files)

    def approve(self, job: JobId) -> Receipt:
        """Pays the provider now, for the result that was fetched: if a reorg has put another into its place, this is refused, and the
        transaction reverts when the reorg comes later. A result that was never fetched is approved as the chain has it.

        Raises BadField for another result than the one that was fetched, WrongState.
        """
        terms = self.terms(job)
        now, seen = (terms.provider, Cid(Codec.DAG_PB, terms.result)), self.home.seen_result(job)
        if seen is not None and seen != now:
            raise BadField(
                "result", str(now[1]), f"is not the one you fetched, {seen[1]} of {seen[0]}; fetch it again"
            )
        return self.chain.approve(self.account, job, terms)

    def settle(self, job: JobId) -> Receipt:
        """Pays the provider after the window. Anyone may."""
        return self.chain.settle(self.account, job, self.terms(job))

    def reclaim(self, job: JobId) -> Receipt:
        """Takes the price back from a provider that missed its deadline; its bond is burned. Anyone may."""
        return self.chain.reclaim(self.account, job, self.terms(job))

    def dispute(self, job: JobId, timeout: float = 20) -> Receipt:
        """Disputes the delivered result, and opens its case at the panel. Prepays the job's dispute fee from the balance in the escrow: it comes
        back if the arbiter finds the result wrong, and so does the price.

        Where the case cannot be opened for `timeout` seconds, the error's notes say so: the dispute stands, and a second call opens the case.

        Raises BadField for a job that nobody judges, WindowOver, InsufficientBalance, WrongState; for the case PanelRefusal, Unavailable.
        """
        terms = self.terms(job)
        if terms.arbiter == ZERO_ADDRESS:
            raise BadField("job", job, "has no arbiter: nobody judges it, and what was delivered is paid")
        if self.chain.state(job)[0] is JobState.DISPUTED:
            opened = self._open_case(job, terms.arbiter, timeout)
            if opened is not None:
                return opened
        receipt = self.chain.dispute(self.account, job, terms)
        self._open_case(job, terms.arbiter, timeout)
        return receipt

    def case(self, job: JobId) -> Standing | None:
        """Where the job's case at the panel stands, or how it ended; None if none was opened there."""
        found = self.panel.case(job) if self.panel else None
        if self.panel is None or found is None:
            return None
        last = self.chain.head().number
        return Standing.of(found, self.panel.events(self.deployment.block, last, job))

    def lapse(self, job: JobId) -> Receipt:
        """Ends a case whose arbiter was silent: half the price each, if the submitter had opened it. Anyone may. Raises RuleByAhead."""
        return self.chain.lapse(self.account, job, self.terms(job))

    def sign_approval(self, job: JobId, result: Cid) -> bytes:
        """The consent to `result` before it is delivered: with it the awarded provider delivers and is paid in one transaction."""
        provider = self.terms(job).provider
        return sign_approval(self.account, job, provider, result.digest, self.deployment.domain)

    def terms(self, job: JobId) -> Terms:
        """What the award fixed, with what came since. Raises WrongState before the award."""
        progress = self.progress(job)
        if progress.terms is None:
            raise WrongState(job, progress.state)
        return progress.terms

    def _open_case(self, job: JobId, arbiter: Address, timeout: float) -> Receipt | None:
        """None where there is nothing to open, or not by us. Verifiers open cases too, but find the signed job only where its award shows it, and
        a cheater's need not."""
        if self.panel is None or self.panel.contract != arbiter or job not in self.home.orders():
            return None
        signed, deadline = self.home.order(job).job.value(), time.monotonic() + timeout
        while True:
            try:
                if self.panel.case(job) is not None:
                    return None
                return self.panel.open(self.account, signed, self.terms(job))
            except DeaiError as error:
                if isinstance(error, TooLate) or time.monotonic() >= deadline:
                    error.add_note(
                        f"it is disputed, but its case at the panel is not open: `deai dispute {job}` opens it;"
                        " a case that nobody opens costs you half the price"
                    )
                    raise
            time.sleep(0.5)

    def _share(self, spec: Spec) -> None:
        for cid in (*spec.inputs.values(), *filter(None, [spec.image.cid])):
            self.store.share(Cid.parse(cid))

    def _share_unsigned(self, spec: Spec) -> None:
        try:
            self._share(spec)
        except DeaiError as error:
            error.add_note(
                "nothing was signed: the job's content did not get to the market, where its provider would read it"
            )
            raise

    def _fetch(self, store: Store, cid: Cid, target: Path, limits: Limits) -> Fetched:
        if not target.exists():
            return unixfs.fetch(store, cid, target, limits)
        # A folder that is there, and empty, may be somebody's current one: it stays, and gets what was fetched beside it.
        partial = target / f".{secrets.token_hex(8)}"
        fetched = unixfs.fetch(store, cid, partial, limits)
        for each in partial.iterdir():
            each.rename(target / each.name)
        partial.rmdir()
        return fetched
