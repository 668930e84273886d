"""One real job, end to end, on this machine. Run it as `./scripts/demo`, which fetches what it needs first."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import image
from deai.errors import DeaiError
from deai.job import JobState, Outcome
from deai.local_market import sourced
from deai.localnet import Localnet
from deai.progress import waiting
from deai.submitter import Submitter
from ending import end_in_order

CHECKOUT = Path(__file__).resolve().parent.parent
IMAGE_NAME = "deai/python-numpy"
FOLLOW_SECONDS = 120.0
OUTPUT_PATH = "/digits/phase1"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--json", action="store_true", help="print a summary as the last line, one JSON object"
    )
    parser.add_argument("--keep", action="store_true", help="leave the market up afterwards, until Ctrl-C")
    parser.add_argument(
        "--results", type=Path, help="where to leave results and summary (default: demo-results/<time>)"
    )
    args = parser.parse_args()
    end_in_order()
    results = args.results or CHECKOUT / "demo-results" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        results.mkdir(parents=True)
    except FileExistsError:
        print(f"demo: --results: {results} exists already", file=sys.stderr)
        return 2
    try:
        summary = run(args.data, results, keep=args.keep)
    except (DeaiError, image.BuildError) as error:
        print(f"demo: {error}\ndemo: logs are in {results / 'logs'}", file=sys.stderr)
        return error.exit_code if isinstance(error, DeaiError) else 3
    if args.json:
        print(json.dumps(summary))
    return 0 if summary["state"] == "Paid" else 1


def run(data: Path, results: Path, *, keep: bool) -> dict[str, Any]:
    """The whole demo. Returns the summary that it also leaves in `results`."""
    say("The image: Python and numpy from Debian's packages, as an image archive")
    with waiting("Building the image"):
        archive = Path(image.build(CHECKOUT / ".cache" / "image").archive)
    with tempfile.TemporaryDirectory(prefix="deai-demo-") as folder:
        net = Localnet(Path(folder), say)
        try:
            with net, net.submitter() as submitter:
                summary = carry(net, submitter, archive, data, results)
                if keep:
                    stay(net, results)
                return summary
        finally:
            if (Path(folder) / "logs").exists():
                shutil.copytree(Path(folder) / "logs", results / "logs")


def carry(net: Localnet, submitter: Submitter, archive: Path, data: Path, results: Path) -> dict[str, Any]:
    """One job from `deai add` to the provider's pay."""
    script_cid = deai(net, "add", CHECKOUT / "scripts" / "digits.py", "--json")["cid"]
    data_cid = deai(net, "add", data, "--json")["cid"]
    deai(net, "add", archive, "--image", IMAGE_NAME, "--json")
    started = time.monotonic()
    job = deai(
        net, "submit", "job", "--name", "Digits_Phase1", "--compute-profile", "cpu-small",
        "--input-script-cid", script_cid, "--input-data-cid", data_cid,
        "--output-storage", "ipfs", "--output-path", OUTPUT_PATH,
        "--payment-token", "DAI", "--payment-amount", "250", "--bond", "5", "--timeout", "5m",
        "--docker-image", IMAGE_NAME, "--yes", "--json",
    )["job"]  # fmt: skip
    follow(submitter, job)
    deai(net, "logs", job)
    fetched = deai(net, "results", job, "-o", results / "result", "--json")
    deai(net, "approve", job)
    seconds = time.monotonic() - started
    deai(net, "history", job, "--rpc", net.rpc)

    progress = submitter.progress(job)
    token = net.deployment.token("DAI")
    metrics = json.loads((results / "result" / OUTPUT_PATH.strip("/") / "metrics.json").read_text())
    gas = gas_by_step(net, submitter, job)
    if progress.terms is None or progress.payout is None:
        raise DeaiError(f"the job is {progress.name} after its approval")
    summary = {
        "state": "Paid" if progress.outcome is Outcome.PAID else progress.name,
        "accuracy": metrics["accuracy"],
        "result_cid": fetched["result_cid"],
        "gas": sum(gas.values()),
        "gas_by_step": gas,
        "seconds": round(seconds, 2),
        "job": job,
        "price_cap": "250 DAI",
        "price": token.show(progress.terms.price),
        "bond": token.show(progress.terms.bond),
        "to_provider": token.show(progress.payout.to_provider),
        "exit_code": fetched["exit"]["exit_code"],
        "results": str(results),
    }
    (results / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    say(f"{summary['state']}: accuracy {summary['accuracy']:.4f} on digits it had not seen")
    say(
        f"Price {summary['price']} (cap {summary['price_cap']}); the provider got {summary['to_provider']}, its bond of {summary['bond']} included"
    )
    say(f"Gas {summary['gas']}: " + ", ".join(f"{step} {used}" for step, used in gas.items()))
    say(f"Result {summary['result_cid']}")
    say(f"From submit to paid: {summary['seconds']} s. Results and summary.json are in {results}")
    return summary


def stay(net: Localnet, results: Path) -> None:
    """Leaves the market up for whoever wants to go on by hand."""
    environment = results / "env.sh"
    environment.write_text(sourced(net.client_environment()))
    say(f"The market stays up; Ctrl-C ends it. In another shell: . {environment}; deai balance")
    try:
        while True:
            time.sleep(3_600)
    except KeyboardInterrupt:
        say("Stopping")


def say(text: str) -> None:
    print(text, flush=True)


def deai(net: Localnet, *args: str | Path) -> Any:
    """Runs the command line as a user would, shows it, and returns its JSON if it was asked for JSON."""
    words = [str(arg) for arg in args]
    shown = [word for word in words if word != "--json"]
    say(f"$ deai {shlex.join(shown)}")
    command = [str(Path(sys.executable).with_name("deai")), *words]
    done = subprocess.run(
        command,
        env={**os.environ, **net.client_environment()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    say("".join(f"  {line}\n" for line in done.stdout.splitlines()).rstrip("\n"))
    if done.returncode != 0:
        raise DeaiError(f"deai {words[0]} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]) if "--json" in words else None


def follow(submitter: Submitter, job: Any) -> None:
    """Prints the job's life as it happens, until it is delivered."""
    shown: set[tuple[str, str]] = set()
    deadline = time.monotonic() + FOLLOW_SECONDS
    while True:
        state, _ = submitter.chain.state(job)
        view = submitter.view(job)
        for line in view.history:
            if (line.event, line.text) not in shown:
                shown.add((line.event, line.text))
                where = f"block {line.block}" if line.block is not None else "observed"
                say(f"  {line.event:<12} {where:<10} {line.text}")
        if state in (JobState.DELIVERED, JobState.CLOSED) and view.state not in ("Signed", "Open", "Awarded"):
            return
        if time.monotonic() > deadline:
            raise DeaiError(f"the job is {state.name} after {FOLLOW_SECONDS:.0f} s: {view.note}")
        time.sleep(0.05)


def gas_by_step(net: Localnet, submitter: Submitter, job: Any) -> dict[str, int]:
    """What each transaction of the job used, by the node's receipts."""
    used = {}
    for event in submitter.chain.events(net.deployment.block, submitter.chain.head().number, job):
        receipt = net.node("eth_getTransactionReceipt", event.tx)
        used[type(event).__name__.removeprefix("Job").lower()] = int(receipt["gasUsed"], 16)
    return used


if __name__ == "__main__":
    sys.exit(main())
