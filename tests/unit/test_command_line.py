"""The command line as a whole: JSON wherever it is asked for, hints for mistyped words, exit codes, completion from local files."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from deai.cli import main
from deai.cli.jobs import STATES
from deai.deployment import Deployment
from deai.errors import BadField
from deai.job import Address
from deai.terminal import errors
from deai.words import nearest
from deai_market.views import state_of

WRONG, UNAVAILABLE, INTERRUPTED = 2, 3, 130
ARGUMENTS = {
    "job": "0x" + "ab" * 32,
    "path": "no-such-file",
    "token": "DAI",
    "amount": "1",
    "shell": "bash",
    "name": "mine",
}


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


def find(words: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


def run(home: Path, *words: str, **variables: str) -> Result:
    outside = dict.fromkeys(name for name in os.environ if name.startswith("DEAI_"))
    return CliRunner().invoke(main, words, env={**outside, "DEAI_HOME": str(home), **variables})


def arguments(command: click.Command) -> list[str]:
    given = [
        ARGUMENTS[each.name or ""]
        for each in command.params
        if isinstance(each, click.Argument) and each.required
    ]
    return [*given, *(["-o", "out"] if any(each.name == "output" for each in command.params) else [])]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_prints_objects_only_when_asked_for_json(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """Without settings most of them fail, and a failure is an object as well."""
    (tmp_path / "password").write_text("a password")

    done = run(
        tmp_path / "home",
        *words,
        *arguments(find(words)),
        "--json",
        DEAI_ANVIL="/no/such/anvil",
        DEAI_PASSWORD_FILE=str(tmp_path / "password"),
    )

    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.exit_code in (0, WRONG, UNAVAILABLE), done.output
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(isinstance(each, dict) for each in objects)
    if done.exit_code:
        assert set(objects[-1]) == {"error", "detail", "notes"}
        assert objects[-1]["detail"] in done.stderr


def test_commands_that_need_no_setting_succeed(tmp_path: Path) -> None:
    """Else the test above would hold of commands that do nothing but fail."""
    for words in (("profiles",), ("keys", "list"), ("completion", "zsh"), ("down",)):
        assert run(tmp_path, *words, "--json").exit_code == 0, words


def test_a_key_whose_name_is_taken_costs_nobody_a_password(tmp_path: Path) -> None:
    sent = {"DEAI_HOME": str(tmp_path), "DEAI_PASSWORD_FILE": None}
    made = CliRunner().invoke(main, ("keys", "new", "mine"), input="secret\n", env=sent)
    assert made.exit_code == 0, made.output
    assert "mine" in made.stdout

    again = CliRunner().invoke(main, ("keys", "new", "mine"), input="", env=sent)
    other = CliRunner().invoke(main, ("keys", "new", "other"), input="", env=sent)

    assert (again.exit_code, other.exit_code) == (WRONG, WRONG)
    assert "exists already" in again.stderr
    assert "no terminal to ask at; set DEAI_PASSWORD_FILE" in other.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("statsu",), "status"),
        (("submit", "jbo"), "job"),
        (("logs", "0xabababab", "--flter", "x"), "--filter"),
        (("submit", "job", "--docker-imgae", "x"), "--docker-image"),
    ],
)
def test_a_mistyped_word_gets_the_nearest(tmp_path: Path, words: tuple[str, ...], hint: str) -> None:
    done = run(tmp_path, *words)
    assert done.exit_code == WRONG
    assert f"Did you mean '{hint}'?" in done.stderr

    spoken = run(tmp_path, *words, "--json")
    assert spoken.exit_code == WRONG
    assert hint in json.loads(spoken.stdout)["detail"]


def test_a_mistyped_state_gets_the_nearest_before_any_part_is_asked(tmp_path: Path) -> None:
    done = run(tmp_path, "jobs", "--state", "awraded")

    assert done.exit_code == WRONG
    assert "did you mean Awarded?" in done.stderr


def test_the_states_that_jobs_takes_are_those_a_market_knows() -> None:
    for state in STATES:
        state_of(state)
    with pytest.raises(BadField) as refused:
        state_of("?")
    assert all(state in refused.value.rule for state in STATES)


def test_nearest_ignores_case_and_else_names_all() -> None:
    assert nearest("dia", ["DAI", "USDC"]) == "did you mean DAI?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("zzz", []) == "known: none"


def test_a_mistyped_token_gets_the_nearest() -> None:
    deployment = Deployment.model_validate(
        {
            "chain_id": 1,
            "contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
            "block": 0,
            "tokens": [
                {
                    "symbol": symbol,
                    "address": Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"),
                    "decimals": 18,
                }
                for symbol in ("DAI", "USDC")
            ],
        }
    )
    with pytest.raises(BadField, match="did you mean USDC"):
        deployment.token("UDSC")


def test_up_names_all_that_is_missing_and_starts_nothing(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "up",
        DEAI_ANVIL="/no/such/anvil",
        DOCKER_HOST=f"unix://{tmp_path}/no.sock",
        PATH="/no/such/folder",
    )

    assert done.exit_code == UNAVAILABLE
    assert "anvil: DEAI_ANVIL='/no/such/anvil'" in done.stderr
    assert "docker: no engine answers" in done.stderr
    assert not (tmp_path / "local" / "logs").exists()


@pytest.mark.parametrize(
    ("stop", "code"),
    [(KeyboardInterrupt(), INTERRUPTED), (click.Abort(), INTERRUPTED)],
    ids=["key", "at a question"],
)
def test_ctrl_c_is_130(stop: BaseException, code: int) -> None:
    with pytest.raises(SystemExit) as ended, errors(as_json=False):
        raise stop
    assert ended.value.code == code


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_is_for_its_shell(tmp_path: Path, shell: str) -> None:
    script = run(tmp_path, "completion", shell).stdout

    assert f"_DEAI_COMPLETE={shell}_complete" in script
    if shell == "zsh":
        assert script.startswith("#compdef deai\n"), "zsh looks at the first line only"
    assert (
        subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0 or shell == "zsh"
    )


def completed(home: Path, line: str, **variables: str) -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("deai"))],
        env={
            **os.environ,
            "DEAI_HOME": str(home),
            "_DEAI_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [each.partition(",")[2] for each in done.stdout.splitlines() if each]


def test_words_are_completed_from_local_files(tmp_path: Path) -> None:
    job = "0x" + "5e" * 32
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / f"{job}.json").write_text("{}")
    (tmp_path / "images.json").write_text('{"mine:1": "bafy"}')
    (tmp_path / "deployment.json").write_text('{"tokens": [{"symbol": "DAI"}]}')

    assert completed(tmp_path, "deai status 0x") == [job[:12]]
    assert completed(tmp_path, f"deai logs {job[:20]}") == [job]
    assert completed(tmp_path, "deai status 0x6") == []
    assert "gpu-a100-80gb" in completed(tmp_path, "deai submit job --compute-profile gpu-a")
    assert completed(tmp_path, "deai submit job --docker-image m") == ["mine:1"]
    deployment = str(tmp_path / "deployment.json")
    assert completed(tmp_path, "deai deposit d", DEAI_DEPLOYMENT=deployment) == ["DAI"]
    assert "completion" in completed(tmp_path, "deai com")


def test_help_and_completion_import_no_chain(tmp_path: Path) -> None:
    """What makes them quick."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, deai.cli; print([m for m in ('web3', 'eth_account', 'pydantic', 'httpx', 'rich') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "[]\n"
