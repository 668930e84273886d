"""The command `deai`. Prints and exit codes; what is done is done by `submitter`.

Exit codes: 0 done, 1 a bug, 2 a wrong request (change something), 3 a part is unavailable (try again), 130 interrupted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deai import keys as keystore
from deai.chain import Receipt
from deai.cid import Cid
from deai.clock import utc
from deai.deployment import Deployment
from deai.errors import BadField, Unavailable, WrongRequest
from deai.home import Home, is_image_archive
from deai.job import Address, JobId, JobState, Timestamp, Wei
from deai.settings import ChainSettings, HomeSettings, StoreSettings, load
from deai.terminal import command, emit, open_job, open_submitter, password, safe_line, safe_lines, say

if TYPE_CHECKING:
    from deai.submitter import Draft, Submitter

FOLLOW_SECONDS = 20.0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="deai")
def main() -> None:
    """An open market for compute. Settings come from the environment: DEAI_RPC, DEAI_DEPLOYMENT, DEAI_MARKET, DEAI_STORE,
    DEAI_HOME, DEAI_KEY, DEAI_PASSWORD_FILE."""


# Submitting.


@main.group()
def submit() -> None:
    """Sign a job and hand it to the market."""


@command(submit, "job")
@click.option("-f", "--file", type=click.Path(path_type=Path), help="A YAML job file; flags override it.")
@click.option("--name", help="A name for people.")
@click.option("--compute-profile", help="Resources by name; see `deai profiles`.")
@click.option(
    "--input-script-cid", help="Appears as /inputs/script; a file runs by python3, a folder by its main.py."
)
@click.option("--input-data-cid", help="Appears as /inputs/data.")
@click.option("--output-storage", help="Where results go: ipfs.")
@click.option("--output-path", help="The folder of the result under which /outputs appears.")
@click.option("--payment-token", help="A token's symbol or address.")
@click.option("--payment-amount", help="The most the job may cost: the cap of its price ramp.")
@click.option("--callback-url", help="Kept with the order, outside the public spec.")
@click.option(
    "--docker-image", help="An image archive's CID, name@sha256:…, or a name given by `deai add --image`."
)
@click.option("--command", help="What to run, instead of the script.")
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="An environment variable; may be repeated. Public."
)
@click.option("--timeout", help="The run's own time: 90s, 30m, 2h (the default is 1h).")
@click.option("--gpus", type=int, help="Number of GPUs.")
@click.option("--gpu", help="A word in the GPU's name: A100.")
@click.option("--vram", help="Memory of each GPU: 40GiB.")
@click.option("--cpu", help="Cores: 2, 0.5.")
@click.option("--memory", help="Memory: 512MiB, 8GiB.")
@click.option("--disk", help="Room for /outputs and for scratch: 10GiB.")
@click.option("--bond", help="What the provider must lock, in the payment token.")
@click.option("--award-within", help="How long the job stays open, and its price rises: 1h.")
@click.option("--window", help="How long a delivery waits for approval before anyone may settle: 1h.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def submit_job(file: Path | None, env: tuple[str, ...], yes: bool, as_json: bool, **flags: Any) -> None:
    """Shows what a job will cost, asks, signs it and hands it to the market. Money is locked at the award, never above the cap."""
    from deai.job_file import JobFile, read  # noqa: PLC0415

    values = read(file) if file else {}
    values |= {key: value for key, value in flags.items() if value is not None}
    if env:
        values["env"] = (values.get("env") or {}) | dict(_variable(each) for each in env)
    job_file = JobFile.parse(values)
    submitter = open_submitter()
    draft = submitter.draft(job_file)
    if not as_json:
        _show(draft)
    if not yes and not click.confirm("Proceed?", default=True, err=as_json):
        raise WrongRequest("not submitted: nothing was signed")
    job = submitter.submit(draft)
    if as_json:
        emit(
            {
                "job": job,
                "spec_cid": str(draft.spec.cid()),
                "price_cap": str(draft.job.price_cap),
                "quote": _text(draft.quote),
            }
        )
    else:
        say(f"Submitted {job}")
        say(f"Follow it: deai status {job[:12]}")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadField("env", text, "is of the form NAME=VALUE")
    return name, value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _show(draft: "Draft") -> None:
    resources, token = draft.spec.resources, draft.token
    gpus = (
        f", {resources.gpus} GPU {resources.gpu_model or ''} {resources.vram_mib} MiB"
        if resources.gpus
        else ""
    )
    rows = [
        ("job", draft.spec.name),
        ("image", str(draft.spec.image)),
        ("command", " ".join(draft.spec.command)),
        ("resources", f"{resources.cpu_millis / 1000:g} cores, {resources.memory_mib} MiB memory, {resources.disk_mib} MiB disk{gpus}"),
        ("time", f"at most {draft.spec.max_seconds} s"),
        ("best offer", f"{token.show(draft.quote)} for the whole job" if draft.quote is not None else f"none now: {draft.reason}"),
        ("costs at most", f"{token.show(draft.job.price_cap)}, locked at the award, not before; you have {token.show(draft.balance)} in the escrow"),
        ("bond", f"{token.show(draft.job.bond)} of the provider's, burned if it does not deliver"),
        ("open until", f"{utc(draft.job.award_by)}; without a matching offer it just stays open"),
        ("verification", "none: whatever is delivered in time is paid, at your approval or after "
         f"{draft.job.challenge_seconds} s"),
        ("public", "spec, inputs, results: anyone can read them"),
    ]  # fmt: skip
    if draft.callback_url:
        rows.append(("callback", "kept with the order; this market does not call back yet"))
    for name, text in rows:
        say(f"  {name:<14}{text}")


@command(submit, "again")
@click.argument("job")
def submit_again(job: str, as_json: bool) -> None:
    """Hand the market the kept copy of a signed order once more. Harmless if the market has it."""
    submitter, found = open_job(job)
    submitter.resubmit(found)
    emit({"job": found}) if as_json else say(f"Submitted {found} again")


@command(main, "add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--image", metavar="NAME", help="The path is an image archive: remember NAME for --docker-image."
)
def add(path: Path, image: str | None, as_json: bool) -> None:
    """Put a file or folder into the content store and print its CID."""
    from deai import unixfs  # noqa: PLC0415
    from deai.local_store import LocalStore  # noqa: PLC0415

    if not path.exists():
        raise BadField("path", str(path), "does not exist")
    if image is not None and not is_image_archive(path):
        raise BadField("path", str(path), "is not an image archive as `docker save` writes it")
    store = LocalStore(load(StoreSettings).store)
    cid = unixfs.add(path, store)
    store.pin(cid)
    if image is not None:
        Home(load(HomeSettings).home).name_image(image, cid)
    emit({"cid": str(cid)}) if as_json else say(str(cid))


@command(main, "profiles")
def profiles(as_json: bool) -> None:
    """List the compute profiles."""
    from deai.profiles import table  # noqa: PLC0415

    found = table(load(HomeSettings).home)
    if as_json:
        return emit(found)
    for name, profile in sorted(found.items()):
        say(f"{name:<22}" + ", ".join(f"{key} {value}" for key, value in profile.items()))
    return None


# Following.


@command(main, "status")
@click.argument("job", required=False)
def status(job: str | None, as_json: bool) -> None:
    """Show a job's state, or all jobs signed here."""
    submitter = open_submitter()
    wanted = [submitter.home.find(job)] if job else submitter.home.orders()
    for each in wanted:
        _status(submitter, each, as_json, details=job is not None)
    if not wanted and not as_json:
        say("no job was signed here")


def _status(submitter: "Submitter", job: JobId, as_json: bool, details: bool) -> None:
    progress = submitter.progress(job)
    try:
        view, note = submitter.view(job), ""
    except (Unavailable, WrongRequest) as error:
        view, note = None, f"the market says nothing: {error}"
    on_chain = progress.state is not JobState.UNKNOWN
    if view is None and not on_chain and job not in submitter.home.orders():
        raise BadField("job", job, f"is known neither to the chain nor to this home folder, and {note}")
    # Of a job that the chain does not know, the market can tell no more than that it has the order.
    state = "Signed" if view is not None and not on_chain else progress.name
    note = view.note if view is not None else note
    result = (
        str(Cid.from_bytes(b"\x12\x20" + progress.terms.result))
        if progress.terms and any(progress.terms.result)
        else None
    )
    price = progress.terms.price if progress.terms else None
    if as_json:
        history = [line.model_dump(mode="json") for line in view.history] if view else []
        return emit(
            {
                "job": job,
                "state": state,
                "on_chain": on_chain,
                "note": note,
                "price": _text(price),
                "result_cid": result,
                "history": history,
            }
        )
    say(f"{job if details else job[:12]}  {state:<10} {safe_line(note)}")
    if details:
        for line in view.history if view else ():
            say(f"  {utc(Timestamp(line.at))}  {safe_line(line.event):<12} {safe_line(line.text)}")
        if result:
            say(f"  result {result}")
    return None


@command(main, "logs")
@click.argument("job")
@click.option("--follow", is_flag=True, help="Keep printing until the run ends.")
def logs(job: str, follow: bool, as_json: bool) -> None:
    """Print a job's output. Only its submitter can. Control characters are shown, not obeyed."""
    submitter, found = open_job(job)
    offset = 0
    while True:
        chunk = submitter.market.logs(submitter.account, found, offset, FOLLOW_SECONDS if follow else 0.0)
        offset += len(chunk.data)
        if as_json:
            emit(chunk.model_dump(mode="json"))
        elif chunk.data:
            click.echo(safe_lines(chunk.data.decode(errors="replace")), nl=False)
        closed = submitter.chain.state(found)[0] is JobState.CLOSED
        if chunk.end or (not chunk.data and (not follow or closed)):
            return


@command(main, "history")
@click.argument("job", required=False)
@click.option("--rpc", help="The node to ask, instead of DEAI_RPC.")
@click.option(
    "--deployment", type=click.Path(path_type=Path), help="The deployment file, instead of DEAI_DEPLOYMENT."
)
def history(job: str | None, rpc: str | None, deployment: Path | None, as_json: bool) -> None:
    """Show jobs, bids, awards, deliveries and payments from the chain's events alone; asks no server but the node."""
    from deai.history import history as lines  # noqa: PLC0415
    from deai.web3_chain import Web3Chain  # noqa: PLC0415

    given = {key: value for key, value in (("rpc", rpc), ("deployment", deployment)) if value is not None}
    settings = load(ChainSettings, **given)
    found = Deployment.load(settings.deployment)
    wanted = Home(load(HomeSettings).home).find(job) if job else None
    told = False
    for line in lines(Web3Chain(settings.rpc, found), found, wanted):
        told = True
        if as_json:
            emit(line.as_json())
        else:
            say(str(line))
    if not told and not as_json:
        say("the chain tells nothing of it")


# After the delivery.


@command(main, "results")
@click.argument("job")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that is empty or does not exist.",
)
def results(job: str, output: Path, as_json: bool) -> None:
    """Fetch a delivered result and check every block against its CID."""
    submitter, found = open_job(job)
    result = submitter.results(found, output)
    record = result.exit_record
    if as_json:
        emit(
            {
                "job": found,
                "result_cid": str(result.cid),
                "folder": str(output),
                "bytes": result.bytes,
                "exit": record.model_dump(mode="json") if record else None,
            }
        )
    else:
        say(f"{result.cid}  {result.files} files, {result.bytes} bytes, verified, in {output}")
        say(str(record) if record else "the result holds no readable exit record")


def _act(verb: str, job: str, as_json: bool) -> None:
    submitter, found = open_job(job)
    receipt = getattr(submitter, verb)(found)
    progress = submitter.progress(found)
    if as_json:
        emit({"job": found, "state": progress.name, "tx": receipt.tx, "gas": receipt.gas_used})
    else:
        say(f"{found}  {progress.name}  ({receipt.gas_used} gas)")


@command(main, "approve")
@click.argument("job")
def approve(job: str, as_json: bool) -> None:
    """Pay the provider for what it delivered, now."""
    _act("approve", job, as_json)


@command(main, "settle")
@click.argument("job")
def settle(job: str, as_json: bool) -> None:
    """Pay the provider once the window is over. Anyone may."""
    _act("settle", job, as_json)


@command(main, "cancel")
@click.argument("job")
def cancel(job: str, as_json: bool) -> None:
    """End a job that was not awarded yet."""
    _act("cancel", job, as_json)


@command(main, "reclaim")
@click.argument("job")
def reclaim(job: str, as_json: bool) -> None:
    """Take the price back from a provider that missed its deadline. Anyone may."""
    _act("reclaim", job, as_json)


# Money and keys.


@command(main, "balance")
def balance(as_json: bool) -> None:
    """Show what you have in the escrow and outside, per token."""
    submitter = open_submitter()
    for token in submitter.deployment.tokens:
        inside = submitter.chain.balance(token.address, submitter.address)
        outside = submitter.chain.token_balance(token.address, submitter.address)
        if as_json:
            emit(
                {
                    "token": token.symbol,
                    "account": submitter.address,
                    "escrow": str(inside),
                    "wallet": str(outside),
                }
            )
        else:
            say(
                f"{token.show(inside)} in the escrow, {token.show(outside)} in the wallet of {submitter.address}"
            )


def _money(
    token: str, amount: str, as_json: bool, act: Callable[["Submitter", Address, Wei], Receipt]
) -> None:
    submitter = open_submitter()
    known = submitter.deployment.token(token)
    wei: Wei = known.amount(amount)
    if wei == 0:
        raise BadField("amount", amount, "is more than 0")
    receipt = act(submitter, known.address, wei)
    now = submitter.chain.balance(known.address, submitter.address)
    if as_json:
        emit(
            {
                "token": known.symbol,
                "amount": str(wei),
                "escrow": str(now),
                "tx": receipt.tx,
                "gas": receipt.gas_used,
            }
        )
    else:
        say(f"{known.show(now)} in the escrow now")


@command(main, "deposit")
@click.argument("token")
@click.argument("amount")
def deposit(token: str, amount: str, as_json: bool) -> None:
    """Move AMOUNT of TOKEN from your wallet into your balance in the escrow."""
    _money(token, amount, as_json, lambda by, token, wei: by.chain.deposit(by.account, token, wei))


@command(main, "withdraw")
@click.argument("token")
@click.argument("amount")
@click.option("--to", help="The account to pay; your own without it.")
def withdraw(token: str, amount: str, to: str | None, as_json: bool) -> None:
    """Pay AMOUNT of TOKEN out of your balance in the escrow."""
    from eth_utils.address import is_checksum_address  # noqa: PLC0415

    if to is not None and not is_checksum_address(to):
        raise BadField("to", to, "is not a checksummed address")
    _money(
        token,
        amount,
        as_json,
        lambda by, token, wei: by.chain.withdraw(by.account, token, Address(to or by.address), wei),
    )


@main.group()
def keys() -> None:
    """Make and list keys; each is an encrypted keystore file."""


@command(keys, "new")
@click.argument("name", default="default")
def keys_new(name: str, as_json: bool) -> None:
    """Make a key and keep it encrypted with a password."""
    settings = load(HomeSettings).model_copy(update={"key": name})
    address = keystore.new(settings.keys, name, password(settings, confirm=True))
    emit({"name": name, "address": address}) if as_json else say(
        f"{name}  {address}  {settings.keys / name}.json"
    )


@command(keys, "list")
def keys_list(as_json: bool) -> None:
    """List the keys and their addresses."""
    for name, address in keystore.listing(load(HomeSettings).keys):
        emit({"name": name, "address": address}) if as_json else say(f"{name}  {address}")


if __name__ == "__main__":
    main()
