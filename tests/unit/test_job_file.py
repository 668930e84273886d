"""What a person writes: amounts, sizes, durations, profiles, job files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai import profiles
from deai.deployment import Token
from deai.errors import BadField
from deai.job import Address, Wei
from deai.job_file import JobFile, read, seconds
from deai.spec import Resources

DAI = Token(symbol="DAI", address=Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"), decimals=18)
REQUIRED = {"name": "n", "docker_image": "i", "payment_token": "DAI", "payment_amount": "1"}


@given(st.integers(0, (1 << 96) - 1))
def test_an_amount_that_is_shown_reads_back_exactly(amount: int) -> None:
    assert DAI.amount(DAI.show(Wei(amount)).split()[0]) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        "1e3",
        "1,5",
        "1_000",
        " 1",
        "٣",
        "0x10",
        "nan",
        "1.1234567890123456789",
        "9" * 30,
    ],
)
def test_an_amount_that_is_no_plain_decimal_or_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(BadField, match="amount"):
        DAI.amount(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80GiB", 81_920),
        ("80gb", 81_920),
        ("80", 81_920),
        ("512MiB", 512),
        ("1.5TiB", 1_572_864),
        ("0.5 GiB", 512),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert profiles.mebibytes(text, "memory") == expected


@pytest.mark.parametrize("text", ["", "lots", "-1GiB", "1KiB", "1 GiB more", "1e3"])
def test_a_size_that_is_none_names_its_field(text: str) -> None:
    with pytest.raises(BadField, match="memory"):
        profiles.mebibytes(text, "memory")


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1D", 86_400)]
)
def test_durations(text: str, expected: int) -> None:
    assert seconds(text, "timeout") == expected


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1.5h", "1w", "100000d"])
def test_a_duration_that_is_none_names_its_field(text: str) -> None:
    with pytest.raises(BadField, match="timeout"):
        seconds(text, "timeout")


def test_every_shipped_profile_makes_valid_resources() -> None:
    for name in profiles.table():
        Resources(**profiles.find(name))


def test_the_documents_profile_wants_an_a100_with_80_gb() -> None:
    wanted = Resources(**profiles.find("gpu-a100-80gb-high"))
    assert (wanted.gpus, wanted.gpu_model) == (1, "A100")
    assert 78 * 1024 <= wanted.vram_mib <= 80 * 1024


def test_ones_own_table_adds_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text('[mine]\ncpus = 3\n[cpu-small]\nmemory = "2GiB"\n')
    assert profiles.find("mine", tmp_path) == {"cpu_millis": 3_000}
    assert profiles.find("cpu-small", tmp_path) == {"memory_mib": 2_048}
    assert profiles.find("cpu-large", tmp_path) == profiles.find("cpu-large")


@pytest.mark.parametrize("text", ["[mine]\nram = 3\n", "[mine\n"])
def test_a_table_of_ones_own_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "profiles.toml").write_text(text)
    with pytest.raises(BadField, match="profiles"):
        profiles.find("mine", tmp_path)


def test_flags_override_a_profile_and_vram_means_a_gpu() -> None:
    assert profiles.resources_of("cpu-small", {"memory": "3GiB"})["memory_mib"] == 3_072
    assert profiles.resources_of(None, {"vram": "10GiB"}) == {"vram_mib": 10_240, "gpus": 1}


def test_a_job_file_and_flags_are_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("payment_amount: 2.5\nenv: {SEED: 7}\ncommand: [python3, -c, 'print(1)']\nmemory: 2\n")
    job = JobFile.parse({**REQUIRED, **read(path)})
    assert job.payment_amount == "2.5"
    assert job.env == {"SEED": "7"}
    assert job.command == ("python3", "-c", "print(1)")
    assert job.resources == {"memory": "2"}


def test_a_command_as_text_is_split_as_a_shell_would() -> None:
    assert JobFile.parse({**REQUIRED, "command": "sh -c 'echo a b'"}).command == ("sh", "-c", "echo a b")


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_field_is_named_with_its_flag(missing: str) -> None:
    with pytest.raises(BadField, match=f"--{missing.replace('_', '-')}"):
        JobFile.parse({key: value for key, value in REQUIRED.items() if key != missing})


def test_a_mistyped_field_names_the_nearest() -> None:
    with pytest.raises(BadField, match="docker_image"):
        JobFile.parse({**REQUIRED, "docker_imgae": "x"})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just text"])
def test_a_job_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(BadField, match=r"job\.yaml"):
        read(tmp_path / "job.yaml")
