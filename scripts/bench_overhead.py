#!/usr/bin/env python3
"""What the market adds to a run: the way from a signed job to its delivery, against the same containers run by the bare Docker SDK.

On the local chain with instant blocks; the container works for one second. One run alternates between the two, so that both meet the same
machine. `overhead_s` is a difference of medians; `throughput_ratio` compares many such jobs, submitted at once to one agent with two slots,
with two threads that do nothing but run containers.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker

import image
from deai import unixfs
from deai.draft import Draft
from deai.errors import DeaiError
from deai.job import JobId, JobState
from deai.job_file import JobFile
from deai.localnet import Localnet
from deai.spec import Resources
from deai.submitter import Submitter
from deai_provider import sandbox
from deai_provider.docker_executor import DockerExecutor
from ending import end_in_order
from machine import Machine

CHECKOUT = Path(__file__).resolve().parent.parent
WORK_SECONDS = 1.0
COMMAND = ("python3", "-S", "-c", f"import time; time.sleep({WORK_SECONDS})")
RESOURCES = Resources(cpu_millis=500, memory_mib=128, disk_mib=64)
SLOTS = 2
GOAL_OVERHEAD_S, GOAL_THROUGHPUT = 0.7, 0.7
_LOOK_SECONDS = 0.01
_JOB_SECONDS = 60.0
_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) INFO (0x[0-9a-f]{64}): ([a-z]+)")


class Bare:
    """The same containers by the Docker SDK alone: create, start, wait, logs, remove."""

    def __init__(self, image_id: str, folder: Path) -> None:
        self._image, self._folder = image_id, folder
        self._api = docker.APIClient(version="auto")
        self.engine = str(self._api.version()["Version"])

    def run(self, number: int) -> float:
        """Runs one; the seconds it took."""
        inputs, outputs = self._folder / f"{number}-in", self._folder / f"{number}-out"
        for each in (inputs, outputs):
            each.mkdir()
        box = sandbox.host_config(RESOURCES, inputs, outputs, (), "runc")
        name = f"deai-bench-{os.getpid()}-{number}"
        began = time.monotonic()
        self._api.create_container(
            self._image,
            name=name,
            command=list(COMMAND),
            user=f"{sandbox.NOBODY}:{sandbox.NOBODY}",
            host_config=box,
        )
        try:
            self._api.start(name)
            code = self._api.wait(name)["StatusCode"]
            self._api.logs(name)
        finally:
            self._api.remove_container(name, force=True, v=True)
        if code != 0:
            raise DeaiError(f"the bare container ended with {code}")
        return time.monotonic() - began

    def run_all(self, numbers: Sequence[int]) -> float:
        """Runs these, as many at once as the agent has slots; the seconds until the last one is done."""
        began = time.monotonic()
        with ThreadPoolExecutor(SLOTS) as threads:
            list(threads.map(self.run, numbers))
        return time.monotonic() - began


class Market:
    """The whole market, as a submitter uses it by the SDK."""

    def __init__(self, net: Localnet, submitter: Submitter, image_cid: str) -> None:
        self._net, self._submitter, self._image = net, submitter, image_cid

    def draft(self) -> Draft:
        """A job like the bare container."""
        fields = {
            "name": "bench",
            "docker_image": self._image,
            "command": list(COMMAND),
            "payment_token": "DAI",
            "payment_amount": "5",
            "cpu": str(RESOURCES.cpu_millis / 1_000),
            "memory": f"{RESOURCES.memory_mib}MiB",
            "disk": f"{RESOURCES.disk_mib}MiB",
            "timeout": "60s",
        }
        return self._submitter.draft(JobFile.parse(fields))

    def run(self, draft: Draft) -> tuple[JobId, float, float]:
        """One job from `submit` to its delivery on chain: its id, when it was submitted (since 1970), and the seconds."""
        submitted, began = time.time(), time.monotonic()
        job = self._submitter.submit(draft)
        time.sleep(WORK_SECONDS)
        self._delivered(job)
        return job, submitted, time.monotonic() - began

    def run_all(self, drafts: Sequence[Draft]) -> float:
        """All at once; the seconds until the last one is delivered."""
        began = time.monotonic()
        waiting = [self._submitter.submit(draft) for draft in drafts]
        for job in waiting:
            # Looks cost the machine that is being measured.
            self._delivered(job, _JOB_SECONDS + len(drafts) * WORK_SECONDS, 10 * _LOOK_SECONDS)
        return time.monotonic() - began

    def _delivered(self, job: JobId, seconds: float = _JOB_SECONDS, look: float = _LOOK_SECONDS) -> None:
        until = time.monotonic() + seconds
        while self._submitter.chain.state(job)[0] not in (JobState.DELIVERED, JobState.CLOSED):
            if time.monotonic() > until:
                raise DeaiError(f"{job} was not delivered: {self._submitter.view(job).note}")
            time.sleep(look)


@contextmanager
def market(folder: Path, say: Any) -> Iterator[tuple[Market, Localnet, str]]:
    """A market of its own in `folder`, the image's archive in its store; and the image's id on the engine."""
    built = image.build(CHECKOUT / ".cache" / "image")
    with Localnet(folder, say) as net, net.submitter() as submitter:
        cid = unixfs.add(Path(built.archive), submitter.store)
        try:
            yield Market(net, submitter, str(cid)), net, built.image
        finally:
            # An agent that is stopped leaves the last job's container to the next one; the engine may end with the market.
            net.stop("deai-provider")
            executor = DockerExecutor(folder / "provider" / "runs", agent=net.agent_name)
            for job in executor.adopt():
                executor.remove(job)


def cpu_seconds(net: Localnet) -> dict[str, float]:
    """What each program of the market has used of the processors so far, and what this one has."""
    ticks, used = os.sysconf("SC_CLK_TCK"), {"submitter": time.process_time()}
    for name, program in net.programs.items():
        fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / ticks
    return used


def breakdown(log: Path, submitted: dict[JobId, float]) -> dict[str, float]:
    """How long after its submission each step of the agent came, in seconds, the median over the jobs."""
    reached = defaultdict[str, list[float]](list)
    for line in log.read_text().splitlines():
        if (found := _LINE.match(line)) and (job := JobId(found[2])) in submitted:
            local = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone(UTC)
            reached[found[3]].append(local.timestamp() - submitted[job])
    medians = {step: statistics.median(times) for step, times in reached.items()}
    return {step: round(at, 3) for step, at in sorted(medians.items(), key=lambda each: each[1])}


def bench(runs: int, jobs: int, say: Any) -> dict[str, Any]:
    """Both measures, and what the machine was."""
    machine = Machine()
    with tempfile.TemporaryDirectory(prefix="deai-bench-") as name:
        folder = Path(name)
        with market(folder / "net", say) as (whole, net, image_id):
            say("Warming up: the image is staged once")
            whole.run(whole.draft())
            bare = Bare(image_id, folder)
            bare.run(0)
            alone, carried, submitted = [], [], {}
            before = cpu_seconds(net)
            for number in range(1, runs + 1):
                alone.append(bare.run(number))
                job, at, seconds = whole.run(whole.draft())
                submitted[job] = at
                carried.append(seconds)
                say(f"{number:3} of {runs}: bare {alone[-1]:.3f} s, through the market {seconds:.3f} s")
            used = {name: round((after - before[name]) / runs, 3) for name, after in cpu_seconds(net).items()}
            say("Processor seconds a job: " + ", ".join(f"{name} {value}" for name, value in used.items()))
            steps = breakdown(net.folder / "logs" / "deai-provider.log", submitted)
            say("Seconds after the submission, median: " + ", ".join(f"{k} {v}" for k, v in steps.items()))
            deai_s = bare_s = None
            if jobs:
                # Half before and half after: a machine that gets slower or faster meanwhile does so for both.
                first, middle, last = runs + 1, runs + 1 + jobs // 2, runs + 1 + jobs
                bare_s = bare.run_all(range(first, middle))
                deai_s = whole.run_all([whole.draft() for _ in range(jobs)])
                bare_s += bare.run_all(range(middle, last))
                say(f"{jobs} at once: bare {bare_s:.2f} s, through the market {deai_s:.2f} s")
        overhead = statistics.median(carried) - statistics.median(alone)
        return {
            "overhead_s": round(overhead, 3),
            "overhead_goal_s": GOAL_OVERHEAD_S,
            "throughput_ratio": round(bare_s / deai_s, 3) if bare_s and deai_s else None,
            "throughput_goal": GOAL_THROUGHPUT,
            "bare_median_s": round(statistics.median(alone), 3),
            "market_median_s": round(statistics.median(carried), 3),
            "runs": runs,
            "bare_all_s": bare_s and round(bare_s, 2),
            "market_all_s": deai_s and round(deai_s, 2),
            "jobs": jobs,
            "slots": SLOTS,
            "steps_s": steps,
            "cpu_s_per_job": used,
            "machine": machine.facts() | {"docker": bare.engine},
        }


def main() -> int:
    """Measures, and prints what it found; exit code 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--runs", type=int, default=20, help="how many jobs one by one (default: 20)")
    parser.add_argument("--jobs", type=int, default=40, help="how many at once (default: 40; 0: none)")
    given = parser.parse_args()
    end_in_order()
    try:
        found = bench(given.runs, given.jobs, lambda text: print(text, flush=True))
    except (DeaiError, image.BuildError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    print(f"overhead {found['overhead_s']} s (goal: at most {GOAL_OVERHEAD_S})")
    if found["throughput_ratio"] is not None:
        print(f"throughput {found['throughput_ratio']} of the bare SDK's (goal: at least {GOAL_THROUGHPUT})")
    if given.json:
        print(json.dumps(found))
    slow = found["overhead_s"] > GOAL_OVERHEAD_S or (found["throughput_ratio"] or 1) < GOAL_THROUGHPUT
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
