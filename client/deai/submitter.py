"""Submitter: drafts, signs and submits jobs, follows them, fetches results, approves, and gets money back. What most users touch.

submitter = Submitter(account, deployment, chain, market, store, Home(folder))
draft = submitter.draft(JobFile.parse({...}))
job = submitter.submit(draft)
result = submitter.results(job, Path("out"))
submitter.approve(job)
"""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from deai import ask as asks
from deai import callback, profiles, unixfs
from deai.ask import Ask
from deai.chain import Chain, JobAwarded, JobClosed, JobDelivered, Receipt
from deai.cid import Cid, Codec
from deai.clock import chain_now
from deai.content import Content
from deai.deployment import Deployment, Token
from deai.docker_config import DockerConfig, config_path
from deai.errors import BadContent, BadField, BadSignature, ContentMissing, DeaiError, WrongState
from deai.home import Home
from deai.image_reference import Platform, Reference
from deai.job import ZERO_DIGEST, Address, Job, JobId, JobState, Outcome, Payout, Terms, Timestamp, Wei
from deai.job_file import JobFile, seconds
from deai.market_api import MarketApi
from deai.progress import Metered, Moved, unmoved
from deai.registry import Manifest, Registry
from deai.result import EXIT_NAME, LOG_NAME, ExitRecord, reserved
from deai.signing import check_ask, job_id, sign_job
from deai.spec import Spec
from deai.store import Block, Store
from deai.unixfs import Fetched, Limits
from deai.wire import CallbackView, JobJson, JobView, Order

DELIVER_MARGIN_SECONDS = 900
"""Added to a job's own time: for starting, collecting and publishing."""
MIN_SECONDS = 60
"""Shorter windows could be decided by a block's time, which may be off by some seconds."""
MAX_EXIT_BYTES = 1 << 20
DEFAULT_PLATFORM = "linux/amd64"
_CID_LETTERS = 46
"""Of the shortest CIDs there are: `Qm…`."""
MATCHER_SECONDS = 30
"""How long the market alone may award; afterwards the provider may do it itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job ready to be signed, and what it will cost."""

    spec: Spec
    manifest: Manifest | None
    """What the image's name was resolved to, where a registry has it."""
    job: Job
    token: Token
    callback_url: str | None
    offer: Ask | None
    """The cheapest standing offer that fits, or None."""
    quote: Wei | None
    """What that offer asks for the whole job."""
    reason: str
    """Why no offer fits; empty if one does."""
    balance: Wei
    """What the submitter has in the escrow."""


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
    ) -> None:
        self.account, self.deployment = account, deployment
        self.chain, self.market, self.store, self.home = chain, market, store, home

    @property
    def address(self) -> Address:
        """The account that pays."""
        return Address(self.account.address)

    # Before the award.

    def draft(self, file: JobFile) -> Draft:
        """Checks everything about a job and finds what it would cost. Signs nothing, sends nothing.

        Raises BadField for a field that is wrong or a cap above the balance, ContentMissing for an input that is not in the store,
        BadContent for an image that is not what its registry says, RegistryUnavailable, MarketUnavailable, ChainUnavailable, StoreUnavailable.
        """
        token = self.deployment.token(file.payment_token)
        cap = token.amount(file.payment_amount, "payment_amount")
        if cap == 0:
            raise BadField("payment_amount", file.payment_amount, "must be more than 0")
        spec, manifest = self._spec(file)
        balance = self.chain.balance(token.address, self.address)
        if balance < cap:
            lacking = token.show(Wei(cap - balance)).split()[0]
            raise BadField(
                "payment_amount",
                token.show(cap),
                f"is above your balance in the escrow, {token.show(balance)}; first: deai deposit {token.symbol} {lacking}",
            )
        now = chain_now(self.chain)
        bond = token.amount(file.bond, "bond")
        award_within = seconds(file.award_within, "award_within")
        window = seconds(file.window, "window")
        for field, given, least in (("award_within", award_within, 1), ("window", window, 0)):
            if (given < MIN_SECONDS and given != 0) or given < least:
                raise BadField(
                    field, f"{given} s", f"is shorter than {MIN_SECONDS} s: block times are not that exact"
                )
        offer, quote, reason = self._cheapest(spec, token, cap, bond, now)
        job = Job(
            submitter=self.address,
            token=token.address,
            price_start=quote or Wei(0),
            price_cap=cap,
            bond=bond,
            matcher=self.market.info().matcher,
            open_at=Timestamp(now + MATCHER_SECONDS),
            award_by=Timestamp(now + MATCHER_SECONDS + award_within),
            deliver_seconds=spec.max_seconds + DELIVER_MARGIN_SECONDS,
            challenge_seconds=window,
            spec=spec.cid().digest,
            salt=secrets.token_bytes(32),
        )
        return Draft(
            spec=spec,
            manifest=manifest,
            job=job,
            token=token,
            callback_url=file.callback_url,
            offer=offer,
            quote=quote,
            reason=reason,
            balance=balance,
        )

    def submit(self, draft: Draft) -> JobId:
        """Hands the job's content to the market, signs the job, keeps a copy of the order, and hands that to the market. Locks no money.

        When the market does not take the content, nothing is signed; when it does not answer to the order, the copy is there: `resubmit`
        sends it again.
        """
        try:
            self._share(draft.spec)
        except DeaiError as error:
            error.add_note(
                "nothing was signed: the job's content did not get to the market, where its provider would read it"
            )
            raise
        spec = draft.spec.canonical()
        self.store.put([Block(draft.spec.cid(), spec)])
        order = Order(
            job=JobJson.of(draft.job),
            signature=sign_job(self.account, draft.job, self.deployment.domain),
            spec=spec.decode(),
            callback_url=draft.callback_url,
            callback_secret=callback.new_secret() if draft.callback_url else None,
        )
        job = job_id(draft.job, self.deployment.domain)
        self.home.save_order(job, order)
        try:
            self.market.submit(order, self.account)
        except DeaiError as error:
            # The market may have taken it and only its answer be lost: a second draft would be a second job.
            error.add_note(
                f"the order is signed and kept: `deai submit again {job}` sends it, `deai cancel {job}` ends it"
            )
            raise
        return job

    def resubmit(self, job: JobId) -> None:
        """Hands the market a job's content and the kept copy of its order once more. Harmless if the market has them."""
        order = self.home.order(job)
        self._share(Spec.parse(order.spec.encode()))
        self.market.submit(order, self.account)

    def cancel(self, job: JobId) -> Receipt:
        """Ends a job that was not awarded: nobody can award it any more. Raises WrongState once it was."""
        return self.chain.cancel(self.account, self.home.order(job).job.value())

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
                    case JobClosed():
                        payout = event.payout
        return Progress(state=state, outcome=outcome, terms=terms, payout=payout)

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
        terms = self._terms(job)
        if terms.result == ZERO_DIGEST:
            raise WrongState(job, JobState.AWARDED)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BadField("output", str(target), "is not an empty folder")
        cid = Cid(Codec.DAG_PB, terms.result)
        try:
            record = self._exit_record(cid)
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
        terms = self._terms(job)
        now, seen = (terms.provider, Cid(Codec.DAG_PB, terms.result)), self.home.seen_result(job)
        if seen is not None and seen != now:
            raise BadField(
                "result", str(now[1]), f"is not the one you fetched, {seen[1]} of {seen[0]}; fetch it again"
            )
        return self.chain.approve(self.account, job, terms)

    def settle(self, job: JobId) -> Receipt:
        """Pays the provider after the window. Anyone may."""
        return self.chain.settle(self.account, job, self._terms(job))

    def reclaim(self, job: JobId) -> Receipt:
        """Takes the price back from a provider that missed its deadline; its bond is burned. Anyone may."""
        return self.chain.reclaim(self.account, job, self._terms(job))

    def _terms(self, job: JobId) -> Terms:
        progress = self.progress(job)
        if progress.terms is None:
            raise WrongState(job, progress.state)
        return progress.terms

    def _share(self, spec: Spec) -> None:
        for cid in (*spec.inputs.values(), *filter(None, [spec.image.cid])):
            self.store.share(Cid.parse(cid))

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

    def _exit_record(self, result: Cid) -> ExitRecord | None:
        try:
            found = unixfs.resolve(self.store, result, EXIT_NAME)
            return ExitRecord.parse(unixfs.read(self.store, found, MAX_EXIT_BYTES))
        except (BadContent, BadField):
            return None

    def _spec(self, file: JobFile) -> tuple[Spec, Manifest | None]:
        inputs = {}
        for name, text in (("script", file.input_script_cid), ("data", file.input_data_cid)):
            if text is not None:
                inputs[name] = self._input(f"input_{name}_cid", text)
        if file.command is not None:
            command = file.command
        elif "script" in inputs:
            folder = unixfs.kind(self.store, inputs["script"]) == "folder"
            command = ("python3", "/inputs/script/main.py" if folder else "/inputs/script")
        else:
            raise BadField("command", None, "give a command, or a script by --input-script-cid")
        image, manifest = self._image(file)
        spec = Spec.build(
            name=file.name,
            image=image,
            command=list(command),
            env=file.env,
            inputs={name: str(cid) for name, cid in inputs.items()},
            output_path=file.output_path,
            resources=profiles.resources_of(file.compute_profile, file.resources, self.home.folder),
            max_seconds=seconds(file.timeout, "timeout"),
        )
        if reserved(spec.output_path):
            raise BadField(
                "output_path", file.output_path, f"is where {EXIT_NAME} and {LOG_NAME} of the result are"
            )
        return spec, manifest

    def _input(self, field: str, text: str) -> Cid:
        try:
            cid = Cid.parse(text)
        except BadField as error:
            raise BadField(field, text, error.rule) from error
        if not self.store.has(cid):
            raise ContentMissing(f"{field}: {text}: is not in the content store; add it with `deai add`")
        return cid

    def _image(self, file: JobFile) -> tuple[dict[str, str], Manifest | None]:
        """The image as a spec names it: an archive by CID, or a registry's by the digest that its name has there now."""
        text = file.docker_image
        cid = self.home.images().get(text) or (text if _could_be_cid(text) else None)
        if cid is not None:
            if file.platform is not None:
                raise BadField("platform", file.platform, "is for images of a registry; an archive holds one")
            return {"cid": str(self._input("docker_image", cid))}, None
        platform = Platform.parse(file.platform or DEFAULT_PLATFORM)
        with Registry(DockerConfig(config_path())) as registry:
            manifest = registry.manifest(Reference.parse(text), platform)
        return {"digest": str(manifest.reference)}, manifest

    def _cheapest(
        self, spec: Spec, token: Token, cap: Wei, bond: Wei, now: Timestamp
    ) -> tuple[Ask | None, Wei | None, str]:
        best: tuple[Wei, Ask] | None = None
        reason = "no provider offers anything for this token"
        for signed in self.market.asks():
            try:
                ask = Ask.parse(signed.ask.encode())
                check_ask(ask, signed.signature)
            except (ValueError, BadSignature):
                continue  # the market's mistake; an offer nobody signed is none
            if ask.provider == self.address or ask.expires_at <= now:
                continue
            prices = ask.prices.get(token.address)
            if prices is None or (ask.chain_id, ask.contract) != (
                self.deployment.chain_id,
                self.deployment.contract,
            ):
                continue
            lacking = asks.fits(spec.resources, ask.capacity)
            quote = asks.quote(prices, spec.resources, spec.max_seconds)
            if lacking is not None:
                reason = lacking
            elif quote > cap:
                reason = f"the cheapest fitting offer asks {token.show(quote)}, more than the cap"
            elif bond > ask.max_bond.get(token.address, 0):
                reason = f"no fitting offer locks a bond of {token.show(bond)}"
            elif best is None or quote < best[0]:
                best = quote, ask
        return (best[1], best[0], "") if best else (None, None, reason)


def _could_be_cid(text: str) -> bool:
    """Whether an image's name is a CID, right or mistyped, rather than a name in a registry."""
    return len(text) >= _CID_LETTERS and text.isalnum()
