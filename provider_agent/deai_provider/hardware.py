"""What this machine has, measured: cores, memory, disk, and GPUs as NVML reports them."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pynvml

from deai.ask import Capacity, Gpu
from deai.errors import BadField, EngineUnavailable

MIB = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU of this machine. `uuid` is its name to NVML and to the container engine."""

    uuid: str
    gpu: Gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What the machine keeps for itself."""

    cpu_millis: int = 0
    memory_mib: int = 1_024
    disk_mib: int = 4_096


COPIES_OF_OUTPUTS = 3


def capacity(work: Path, slots: int = 1, reserve: Reserve | None = None, held_mib: int = 0) -> Capacity:
    """What jobs may have of this machine, all together: what there is, less `reserve`.

    Disk is a third of what is free where `work` is: outputs lie on the run's volume, in the result collected from it, and in the store.
    `held_mib` of it is what runs have now: set aside already, and theirs.

    Raises BadField when the reserve leaves nothing, EngineUnavailable for a GPU driver that is there but does not answer.
    """
    kept = reserve or Reserve()
    work.mkdir(parents=True, exist_ok=True)
    there = {
        "cpu_millis": len(os.sched_getaffinity(0)) * 1_000,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB,
        "disk_mib": shutil.disk_usage(work).free // MIB + held_mib,
    }
    left = {name: amount - getattr(kept, name) for name, amount in there.items()}
    for name, amount in left.items():
        if amount <= 0:
            raise BadField(f"reserve.{name}", getattr(kept, name), f"leaves nothing of {there[name]}")
    left["disk_mib"] = max(left["disk_mib"] // COPIES_OF_OUTPUTS, 1)
    return Capacity(**left, gpus=tuple(device.gpu for device in devices()), slots=slots)


def devices() -> tuple[Device, ...]:
    """The GPUs of this machine, in NVML's order; none where there is no driver. Raises EngineUnavailable."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded) as absent:
        _log.info("no GPUs: %s", absent)
        return ()
    except pynvml.NVMLError as error:
        raise EngineUnavailable(
            f"the GPU driver is there but does not answer: {error}; see `nvidia-smi`"
        ) from error
    try:
        return tuple(_device(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        raise EngineUnavailable(f"a GPU does not answer: {error}; see `nvidia-smi`") from error
    finally:
        pynvml.nvmlShutdown()


def _device(index: int) -> Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    return Device(uuid, Gpu(model=model[:128], vram_mib=pynvml.nvmlDeviceGetMemoryInfo(handle).total // MIB))
