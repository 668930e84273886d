"""An ask: a provider's standing offer of capacity at a price; and what a job costs under it. Pure."""

import json
from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from deai.job import Wei
from deai.spec import Resources

MIB_PER_GIB = 1_024


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Gpu(_Strict):
    """One GPU as NVML reports it."""

    model: str = Field(max_length=128)
    vram_mib: int = Field(ge=0)


class Capacity(_Strict):
    """What a machine can give to jobs, all together."""

    cpu_millis: int = Field(ge=0)
    memory_mib: int = Field(ge=0)
    disk_mib: int = Field(ge=0)
    gpus: tuple[Gpu, ...] = Field(default=(), max_length=1_024)
    slots: int = Field(default=1, ge=1, le=4_096)
    """How many jobs at the same time."""


class Prices(_Strict):
    """Prices in the token's smallest unit: per core, per GiB of memory and per GPU, for each second of a job's `max_seconds`; and per job."""

    job: int = Field(default=0, ge=0)
    core_second: int = Field(default=0, ge=0)
    gib_second: int = Field(default=0, ge=0)
    gpu_second: int = Field(default=0, ge=0)


class Ask(_Strict):
    """What a provider signs as its standing offer. A newer `issued_at` replaces the older ask of the same provider."""

    provider: str
    chain_id: int
    contract: str
    capacity: Capacity
    prices: dict[str, Prices] = Field(max_length=64)
    """Token address to prices."""
    max_bond: dict[str, int] = Field(default_factory=dict, max_length=64)
    """Token address to the highest bond it locks for one job; a token that is absent: none."""
    issued_at: int = Field(ge=0)
    expires_at: int = Field(ge=0)

    def canonical(self) -> bytes:
        """The one spelling of this ask: JSON with sorted keys, no spaces, UTF-8."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads an ask. Raises pydantic's ValidationError."""
        return cls.model_validate_json(data)


def quote(prices: Prices, resources: Resources, max_seconds: int) -> Wei:
    """What a whole job costs, in the token's smallest unit: the job's price plus, for each second it may take, its cores, memory and GPUs.

    Rounds up: the provider chose the prices, but a job must not be cheaper than asked.
    """
    per_second_millis = (
        prices.core_second * resources.cpu_millis * MIB_PER_GIB
        + prices.gib_second * resources.memory_mib * 1_000
        + prices.gpu_second * resources.gpus * 1_000 * MIB_PER_GIB
    )
    return Wei(prices.job - (-per_second_millis * max_seconds) // (1_000 * MIB_PER_GIB))


def fits(resources: Resources, free: Capacity) -> str | None:
    """Why the resources do not fit into what is free, or None when they do."""
    if free.slots < 1:
        return "no free slot"
    for name in ("cpu_millis", "memory_mib", "disk_mib"):
        wanted, there = getattr(resources, name), getattr(free, name)
        if wanted > there:
            return f"{name}: wants {wanted}, {there} free"
    fitting = [gpu for gpu in free.gpus if gpu_fits(resources, gpu)]
    if len(fitting) < resources.gpus:
        wanted_gpu = " ".join(
            filter(None, (resources.gpu_model, f"{resources.vram_mib} MiB" if resources.vram_mib else ""))
        )
        return f"gpus: wants {resources.gpus} {wanted_gpu}".rstrip() + f", {len(fitting)} free"
    return None


def without(free: Capacity, resources: Resources) -> Capacity:
    """What is left of `free` once `resources` are given away. GPUs with the least memory that fit go first."""
    fitting = sorted((gpu for gpu in free.gpus if gpu_fits(resources, gpu)), key=lambda gpu: gpu.vram_mib)
    left = list(free.gpus)
    for gpu in fitting[: resources.gpus]:
        left.remove(gpu)
    return Capacity.model_construct(
        cpu_millis=free.cpu_millis - resources.cpu_millis,
        memory_mib=free.memory_mib - resources.memory_mib,
        disk_mib=free.disk_mib - resources.disk_mib,
        gpus=tuple(left),
        slots=free.slots - 1,
    )


def remaining(capacity: Capacity, working: Iterable[Resources], ended: Sequence[Resources]) -> Capacity:
    """What is left of a machine beside its jobs. Those at work hold all they asked for. Those whose run has ended, and whose result is on its
    way, hold disk alone, so that a slow uplink leaves no processor idle; but only as many as there are slots, or results would pile up until
    their deadlines come: the rest hold all.
    """
    free = capacity
    for resources in (*working, *ended[capacity.slots :]):
        free = without(free, resources)
    disk_mib = sum(resources.disk_mib for resources in ended[: capacity.slots])
    return free.model_copy(update={"disk_mib": free.disk_mib - disk_mib})


def gpu_fits(resources: Resources, gpu: Gpu) -> bool:
    """Whether one GPU is what the resources ask of each."""
    return gpu.vram_mib >= resources.vram_mib and (resources.gpu_model or "").lower() in gpu.model.lower()
