"""`deai submit`, and `deai profiles`: what a job is made of."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deai.cli import completion
from deai.cli.root import main
from deai.errors import BadField, WrongRequest
from deai.job import JobId, JobState
from deai.terminal import command, emit, open_job, open_submitter, safe_line, say

if TYPE_CHECKING:
    from deai.draft import Draft
    from deai.submitter import Submitter


@main.group()
def submit() -> None:
    """Sign a job and hand it to the market."""


def _job_flags(function: Callable[..., None]) -> Callable[..., None]:
    """The fields of a job as options."""
    for option in reversed(_JOB_FLAGS):
        function = option(function)
    return function


_JOB_FLAGS = (
    click.option("-f", "--file", "files", multiple=True, type=click.Path(path_type=Path),
        help="A YAML job file; flags override it. Several are signed at once."),
    click.option("--name", help="A name for people."),
    click.option("--compute-profile", shell_complete=completion.profiles, help="Resources by name; see `deai profiles`."),
    click.option("--input-script-cid", help="Appears as /inputs/script; a file runs by python3, a folder by its main.py."),
    click.option("--input-data-cid", help="Appears as /inputs/data."),
    click.option("--output-storage", help="Where results go: ipfs."),
    click.option("--output-path", help="The folder of the result under which /outputs appears."),
    click.option("--payment-token", shell_complete=completion.tokens, help="A token's symbol or address."),
    click.option("--payment-amount", help="The most the job may cost: the cap of its price ramp."),
    click.option("--callback-url", help="Called when the job has closed; see `deai callback`. Not part of the public spec."),
    click.option("--docker-image", shell_complete=completion.images,
        help="A name in a registry (python:3.12), an image archive's CID, or a name given by `deai add --image`."),
    click.option("--platform", help="Of an image that a registry has for several (the default is linux/amd64)."),
    click.option("--command", help="What to run, instead of the script."),
    click.option("--env", multiple=True, metavar="NAME=VALUE", help="An environment variable; may be repeated. Public."),
    click.option("--timeout", help="The run's own time: 90s, 30m, 2h (the default is 1h)."),
    click.option("--gpus", type=int, help="Number of GPUs."),
    click.option("--gpu", help="A word in the GPU's name: A100."),
    click.option("--vram", help="Memory of each GPU: 40GiB."),
    click.option("--cpu", help="Cores: 2, 0.5."),
    click.option("--memory", help="Memory: 512MiB, 8GiB."),
    click.option("--disk", help="Room for /outputs and for scratch: 10GiB."),
    click.option("--verification", help="none: whatever is delivered is paid. optimistic: a panel re-runs what you dispute."),
    click.option("--bond", help="What the provider must lock, in the payment token; computed where results may be disputed."),
    click.option("--check-rate", help="How often you will check a result, from 0 to 1 (the default is 0.2)."),
    click.option("--seats", type=int, help="How many verifiers judge a dispute: 1, 3 (the default), 5."),
    click.option("--resource-class", type=int, help="What those verifiers must have, as a class of the panel."),
    click.option("--outside-gain", help="What a wrong result may earn its provider elsewhere, in the payment token."),
    click.option("--dispute-fee", help="What a dispute costs its loser; computed without it."),
    click.option("--ruling", help="How long the panel has for a dispute; as long as it needs without it."),
    click.option("--award-within", help="How long the job stays open, and its price rises: 1h."),
    click.option("--window", help="How long a delivery waits for approval, or a dispute, before anyone may settle: 1h."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)  # fmt: skip


@command(submit, "job")
@_job_flags
def submit_job(files: tuple[Path, ...], env: tuple[str, ...], yes: bool, as_json: bool, **flags: Any) -> None:
    """Shows what a job will cost, asks, signs it and hands it to the market. Money is locked at the award, never above the cap."""
    submitter, drafts = _drafts(files, env, yes, as_json, flags)
    _told(drafts, submitter.submit_many(drafts), "Submitted", as_json)


@command(main, "post")
@_job_flags
def post(files: tuple[Path, ...], env: tuple[str, ...], yes: bool, as_json: bool, **flags: Any) -> None:
    """The same as `submit job`, but puts the job on chain: no signature is given out, and any market finds it there."""
    submitter, drafts = _drafts(files, env, yes, as_json, flags)
    for draft in drafts:
        _told([draft], [submitter.post(draft)], "Posted", as_json)


def _drafts(
    files: tuple[Path, ...], env: tuple[str, ...], yes: bool, as_json: bool, flags: dict[str, Any]
) -> tuple["Submitter", list["Draft"]]:
    from deai.job_file import JobFile, read

    given = {key: value for key, value in flags.items() if value is not None}
    variables = dict(_variable(each) for each in env)
    wanted = []
    for values in [read(file) for file in files] or [{}]:
        if variables:
            values["env"] = (values.get("env") or {}) | variables
        wanted.append(JobFile.parse(values | given))
    submitter = open_submitter()
    drafts = [submitter.draft(file) for file in wanted]
    if not as_json:
        for draft in drafts:
            _show(draft)
    if not yes and not click.confirm("Proceed?", default=True, err=as_json):
        raise WrongRequest("not submitted: nothing was signed")
    return submitter, drafts


def _told(drafts: Sequence["Draft"], jobs: Sequence[JobId], done: str, as_json: bool) -> None:
    for draft, job in zip(drafts, jobs, strict=True):
        if as_json:
            emit(
                {
                    "job": job,
                    "spec_cid": str(draft.spec.cid()),
                    "image": str(draft.spec.image),
                    "price_cap": str(draft.job.price_cap),
                    "quote": _text(draft.quote),
                    "verification": draft.spec.verification,
                    "bond": str(draft.job.bond),
                    "dispute_fee": str(draft.job.dispute_fee),
                }
            )
        else:
            say(f"{done} {job}")
            say(f"Follow it: deai status {job[:12]}")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadField("env", text, "must be of the form NAME=VALUE")
    return name, value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _show(draft: "Draft") -> None:
    from deai.clock import utc

    resources, token, manifest = draft.spec.resources, draft.token, draft.manifest
    gpus = (
        f", {resources.gpus} GPU {resources.gpu_model or ''} {resources.vram_mib} MiB"
        if resources.gpus
        else ""
    )
    rows = [
        ("job", draft.spec.name),
        ("image", str(draft.spec.image) + (f", {manifest.platform}, {manifest.bytes / 1e6:.1f} MB to fetch" if manifest else "")),
        ("command", " ".join(draft.spec.command)),
        ("resources", f"{resources.cpu_millis / 1000:g} cores, {resources.memory_mib} MiB memory, {resources.disk_mib} MiB disk{gpus}"),
        ("time", f"at most {draft.spec.max_seconds} s"),
        ("best offer", f"{token.show(draft.quote)} for the whole job" if draft.quote is not None else f"none now: {draft.reason}"),
        ("costs at most", f"{token.show(draft.job.price_cap)}, locked at the award, not before; you have {token.show(draft.balance)} in the escrow"),
        ("bond", f"{token.show(draft.job.bond)} of the provider's, burned if it does not deliver"),
        ("open until", f"{utc(draft.job.award_by)}; without a matching offer it just stays open"),
        *_judged(draft),
        ("public", "spec, inputs, results: anyone can read them"),
    ]  # fmt: skip
    if draft.callback_url:
        rows.append(("callback", "called when the job has closed, signed with the order's own secret"))
    for name, text in rows:
        say(f"  {name:<14}{safe_line(text)}")


def _judged(draft: "Draft") -> list[tuple[str, str]]:
    """What is known before paying of how the result is verified: by whom, for what, how long it takes, and what a cheater risks."""
    job, token, found = draft.job, draft.token, draft.arbitration
    if found is None:
        delay = f"after {job.challenge_seconds} s" if job.challenge_seconds else "at once"
        return [
            (
                "verification",
                f"none: any digest that is delivered in time gets paid, at your approval or {delay}",
            )
        ]
    checked = f"{float(found.odds.check_rate) * 100:g} of 100 results"
    return [
        ("verification", f"optimistic: you may dispute a result; then {found.seats} drawn verifiers re-run the job"),
        ("dispute fee", f"{token.show(job.dispute_fee)}, prepaid by you if you dispute, and borne by the loser"),
        ("delay", f"paid at your approval or {job.challenge_seconds} s after the delivery; a dispute takes at most {job.ruling_seconds} s more"),
        ("a cheater", f"loses {token.show(found.cheaters_loss)} or more on average, if you check {checked}"),
    ]  # fmt: skip


@command(submit, "again")
@click.argument("job", shell_complete=completion.jobs)
def submit_again(job: str, as_json: bool) -> None:
    """Hand the market the kept copy of a signed order once more. Harmless if the market has it."""
    submitter, found = open_job(job)
    progress = submitter.progress(found)
    if progress.state is not JobState.CLOSED:
        submitter.resubmit(found)
    if as_json:
        emit({"job": found, "state": progress.name})
    elif progress.state is JobState.CLOSED:
        say(f"{found} is {progress.name} already: there is nothing to submit again")
    else:
        say(f"Submitted {found} again")


@command(main, "profiles")
def profiles(as_json: bool) -> None:
    """List the compute profiles."""
    from deai.profiles import table
    from deai.settings import HomeSettings, load

    found = table(load(HomeSettings).home)
    if as_json:
        return emit(found)
    for name, profile in sorted(found.items()):
        say(f"{name:<22}" + ", ".join(f"{key} {value}" for key, value in profile.items()))
    return None
