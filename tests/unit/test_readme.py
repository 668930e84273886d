"""What README.md says, held against the code."""

import re
import shlex
from pathlib import Path

import click
import pytest

from deai.cli import main
from deai.job import TRANSITIONS, Action, JobState

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def rows(header: str) -> list[list[str]]:
    table = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_the_table_of_arrows_is_the_table_in_the_code() -> None:
    told: dict[tuple[JobState, Action], set[JobState]] = {}
    for source, verb, target, _ in rows("| from | verb | to |"):
        told.setdefault((JobState[source.upper()], Action(verb)), set()).add(JobState[target.upper()])
    assert told == {key: set(value) for key, value in TRANSITIONS.items()}


def test_the_drawing_names_every_state_and_verb_that_the_table_has() -> None:
    drawing = README[README.index("## A job's life") :].split("```")[1]
    for state, action in TRANSITIONS:
        assert state.name.capitalize() in drawing
        assert action in drawing
    for name in re.findall(r"\b[A-Z][a-z]+\b", drawing):
        assert name.upper() in {*JobState.__members__, "CANCELLED", "PAID", "REFUNDED", "SPLIT"}, name


def shell_commands(*names: str) -> list[list[str]]:
    found = []
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" #")[0].split(";"):
                words = shlex.split(part)
                if words and words[0] in names:
                    found.append(words)
    return found


def test_every_deai_command_parses() -> None:
    commands = shell_commands("deai")
    assert len(commands) >= 9
    for words in commands:
        command: click.Command = main
        rest = words[1:]
        while isinstance(command, click.Group):
            command = command.commands[rest.pop(0)]
        command.make_context(words[0], rest)


def test_both_scripts_exist_and_can_be_run() -> None:
    commands = shell_commands("./scripts/demo", "./scripts/test")
    assert {words[0] for words in commands} == {"./scripts/demo", "./scripts/test"}
    for words in commands:
        assert (ROOT / words[0]).stat().st_mode & 0o111


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/README.md"))]
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def test_the_map_names_files_that_exist() -> None:
    drawn = README[README.index("## Map") :].split("```")[1]
    for line in drawn.splitlines():
        if line.startswith("  "):
            for name in re.findall(r"\b([a-z0-9_]+\.py)\b", line):
                assert (ROOT / "client" / "deai" / name).exists(), name


def test_every_setting_is_told() -> None:
    from deai.settings import Settings

    told = set(re.findall(r"`(DEAI_[A-Z_]+)`", README))
    assert told == {f"DEAI_{name.upper()}" for name in Settings.model_fields}
