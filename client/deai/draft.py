"""A draft: a job checked in every field, and what it would cost, before anything is signed."""

import re
import secrets
from dataclasses import dataclass

from deai import ask as asks
from deai import profiles, unixfs
from deai.arbitration import CHECK_RATE, SEATS, Arbitration, Court, Wishes, arbitration
from deai.ask import Ask
from deai.chain import Chain
from deai.cid import Cid
from deai.clock import chain_now
from deai.content import Content
from deai.deployment import Deployment, Token
from deai.docker_config import DockerConfig, config_path
from deai.errors import BadField, BadSignature, ContentMissing
from deai.home import Home
from deai.image_reference import Platform, Reference
from deai.job import ZERO_ADDRESS, ZERO_DIGEST, Address, Job, Timestamp, Wei
from deai.job_file import JobFile, fraction, seconds
from deai.market_api import MarketApi
from deai.panel import Panel
from deai.registry import Manifest, Registry
from deai.result import EXIT_NAME, LOG_NAME, reserved
from deai.signing import check_ask
from deai.spec import Spec

DELIVER_MARGIN_SECONDS = 900
"""Added to a job's own time: for starting, collecting and publishing."""
MIN_SECONDS = 60
"""Shorter windows could be decided by a block's time, which may be off by some seconds."""
MATCHER_SECONDS = 30
"""How long the market alone may award; afterwards the provider may do it itself."""
DEFAULT_PLATFORM = "linux/amd64"
_CID_LETTERS = 46
"""Of the shortest CIDs there are: `Qm…`."""
_CASE_FIELDS = ("seats", "resource_class", "check_rate", "outside_gain", "dispute_fee", "ruling")


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
    arbitration: Arbitration | None
    """How a dispute would be judged; None where nobody judges, and whatever is delivered is paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Makes drafts for one submitter from what chain, market and store say. Signs nothing, sends nothing."""

    submitter: Address
    deployment: Deployment
    chain: Chain
    market: MarketApi
    store: Content
    home: Home
    panel: Panel | None

    def draft(self, file: JobFile) -> Draft:
        """See `Submitter.draft`."""
        token = self.deployment.token(file.payment_token)
        cap = token.amount(file.payment_amount, "payment_amount")
        if cap == 0:
            raise BadField("payment_amount", file.payment_amount, "must be more than 0")
        spec, manifest = self._spec(file)
        balance = self.chain.balance(token.address, self.submitter)
        if balance < cap:
            lacking = token.show(Wei(cap - balance)).split()[0]
            raise BadField(
                "payment_amount",
                token.show(cap),
                f"is above your balance in the escrow, {token.show(balance)}; first: deai deposit {token.symbol} {lacking}",
            )
        now = chain_now(self.chain)
        window, award_within = _times(file)
        deliver_seconds = spec.max_seconds + DELIVER_MARGIN_SECONDS
        judged = self._arbitration(file, spec, token, cap, deliver_seconds, now)
        bond = judged.bond if judged else token.amount(file.bond or "0", "bond")
        offer, quote, reason = self._cheapest(spec, token, cap, bond, now)
        job = Job(
            submitter=self.submitter,
            token=token.address,
            price_start=quote or Wei(0),
            price_cap=cap,
            bond=bond,
            arbiter=judged.arbiter if judged else ZERO_ADDRESS,
            dispute_fee=judged.dispute_fee if judged else Wei(0),
            arbiter_data=judged.arbiter_data if judged else ZERO_DIGEST,
            matcher=self.market.info().matcher,
            epoch=self.chain.epoch(token.address, self.submitter),
            open_at=Timestamp(now + MATCHER_SECONDS),
            award_by=Timestamp(now + MATCHER_SECONDS + award_within),
            deliver_seconds=deliver_seconds,
            challenge_seconds=window,
            ruling_seconds=judged.ruling_seconds if judged else 0,
            spec=spec.cid().digest,
            salt=secrets.token_bytes(32),
        )
        self.check(job)
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
            arbitration=judged,
        )

    def check(self, job: Job) -> None:
        """Raises BadField for a job that should not be signed, whoever made it: a token or an arbiter this deployment does not know, times that
        a block could decide, or a case that the arbiter would not take."""
        self.deployment.token(job.token)
        if job.challenge_seconds and job.challenge_seconds < MIN_SECONDS:
            raise BadField("window", f"{job.challenge_seconds} s", _too_short())
        if job.arbiter not in self.deployment.arbiters:
            raise BadField("arbiter", job.arbiter, "is not one this deployment knows")
        if job.arbiter == ZERO_ADDRESS:
            return
        panel = self._panel()
        least = _ruling_seconds(panel, job.deliver_seconds)
        if job.ruling_seconds < least:
            rule = f"is less than the {least} s that a case of this job may take"
            raise BadField("ruling", f"{job.ruling_seconds} s", rule)
        field = panel.unfit(job)
        if field:
            words = re.sub(r"([A-Z])", r"_\1", field).lower()
            raise BadField(words, None, "is why the panel would take no case of this job")

    # Disputes.

    def _arbitration(
        self, file: JobFile, spec: Spec, token: Token, cap: Wei, deliver_seconds: int, now: Timestamp
    ) -> Arbitration | None:
        if file.verification == "none":
            for field in _CASE_FIELDS:
                if (given := getattr(file, field)) is not None:
                    raise BadField(field, given, "is for jobs whose verification is `optimistic`")
            return None
        panel = self._panel()
        paid_in = panel.rules.fee_token
        if paid_in != token.address:
            symbols = {each.address: each.symbol for each in self.deployment.tokens}
            rule = f"is not what the panel is paid in, {symbols.get(paid_in, paid_in)}"
            raise BadField("payment_token", token.symbol, rule)
        if seconds(file.window, "window") == 0:
            raise BadField("window", file.window, "leaves no time to dispute a result")
        wishes = Wishes(
            seats=SEATS if file.seats is None else file.seats,
            resource_class=file.resource_class or 0,
            check_rate=CHECK_RATE if file.check_rate is None else fraction(file.check_rate, "check_rate"),
            outside_gain=token.amount(file.outside_gain or "0", "outside_gain"),
            bond=None if file.bond is None else token.amount(file.bond, "bond"),
            dispute_fee=None if file.dispute_fee is None else token.amount(file.dispute_fee, "dispute_fee"),
            ruling_seconds=None if file.ruling is None else seconds(file.ruling, "ruling"),
        )
        court = Court(
            arbiter=panel.contract,
            seat_fee=panel.rules.seat_fee,
            ruling_seconds=_ruling_seconds(panel, deliver_seconds),
            tickets=panel.resource_class(wishes.resource_class).tickets,
        )
        _, quote, _ = self._cheapest(spec, token, cap, Wei(0), now)
        return arbitration(wishes, court, cap, quote or cap, token.show)

    def _panel(self) -> Panel:
        if self.panel is None:
            rule = "needs an arbiter, and this deployment names no panel; `deai up --verifiers 3` makes a market with one"
            raise BadField("verification", "optimistic", rule)
        return self.panel

    # What to run.

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
            verification=file.verification,
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

    # Who would run it.

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
            if ask.provider == self.submitter or ask.expires_at <= now:
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


def _times(file: JobFile) -> tuple[int, int]:
    """The window and how long the job is open for awards, in seconds."""
    window, award_within = seconds(file.window, "window"), seconds(file.award_within, "award_within")
    for field, given, least in (("award_within", award_within, 1), ("window", window, 0)):
        if (given < MIN_SECONDS and given != 0) or given < least:
            raise BadField(field, f"{given} s", _too_short())
    return window, award_within


def _ruling_seconds(panel: Panel, deliver_seconds: int) -> int:
    """The least time that a job with these `deliver_seconds` leaves the panel for a case."""
    return panel.case_seconds(deliver_seconds) + panel.rules.pace.open_seconds


def _too_short() -> str:
    return f"is shorter than {MIN_SECONDS} s: block times are not that exact"


def _could_be_cid(text: str) -> bool:
    """Whether an image's name is a CID, right or mistyped, rather than a name in a registry."""
    return len(text) >= _CID_LETTERS and text.isalnum()
