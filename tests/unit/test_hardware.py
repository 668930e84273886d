"""What a machine has. NVML is simulated: the machines that run these tests have no GPU."""

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from deai.ask import Gpu
from deai.errors import BadField, EngineUnavailable
from deai_provider import hardware
from deai_provider.hardware import Reserve


def nvml(monkeypatch: pytest.MonkeyPatch, **replaced: object) -> None:
    """Puts functions in the place of NVML's."""
    for name, function in {"nvmlInit": lambda: None, "nvmlShutdown": lambda: None, **replaced}.items():
        monkeypatch.setattr(pynvml, name, function)


def raising(code: int) -> object:
    """A function of NVML that fails with `code`."""

    def fail() -> None:
        raise pynvml.NVMLError(code)

    return fail


def test_capacity_is_what_is_there_less_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, nvmlInit=raising(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))

    everything = hardware.capacity(tmp_path / "work", 3, Reserve(memory_mib=0, disk_mib=0))
    some = hardware.capacity(tmp_path / "work", 3, Reserve(cpu_millis=100, memory_mib=64, disk_mib=0))

    assert everything.slots == 3
    assert everything.cpu_millis % 1_000 == 0
    assert everything.cpu_millis > 0
    assert some.cpu_millis == everything.cpu_millis - 100
    assert some.memory_mib == everything.memory_mib - 64
    assert everything.disk_mib > 0
    assert everything.gpus == ()


def test_a_reserve_that_leaves_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadField, match=r"reserve\.memory_mib"):
        hardware.capacity(tmp_path, 1, Reserve(memory_mib=1 << 40))


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    nvml(monkeypatch, nvmlInit=raising(code))

    assert hardware.devices() == ()


def test_a_driver_that_does_not_answer_is_an_error_not_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, nvmlInit=raising(pynvml.NVML_ERROR_UNKNOWN))
    with pytest.raises(EngineUnavailable, match="driver"):
        hardware.devices()

    nvml(monkeypatch, nvmlDeviceGetCount=raising(pynvml.NVML_ERROR_GPU_IS_LOST))
    with pytest.raises(EngineUnavailable, match="does not answer"):
        hardware.devices()


def test_simulated_gpus_are_told_by_model_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(
        monkeypatch,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetName=lambda _: "NVIDIA A100-SXM4-80GB",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=80 << 30),
    )

    devices = hardware.devices()

    assert [device.uuid for device in devices] == ["GPU-0", "GPU-1"]
    assert {device.gpu for device in devices} == {Gpu(model="NVIDIA A100-SXM4-80GB", vram_mib=81_920)}
