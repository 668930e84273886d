"""A job whose image is in a registry: submitted by tag, run by digest."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import image as builder
from deai.job import JobState
from deai.program import free_port
from deai.submitter import Submitter
from tests.adapters.registry_fixtures import LocalRegistry
from tests.journeys.users import ROOT, Cli

PATIENCE = 120.0


@pytest.fixture
def python(tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry with the built image as team/python:3.11."""
    registry = LocalRegistry(tmp_path / "registry", free_port())
    registry.start()
    archive = builder.build(ROOT / ".cache" / "image").archive
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        layer = tar.extractfile(json.load(manifest)[0]["Layers"][0])
        assert layer is not None
        registry.push("team/python", "3.11", layer.read(), architecture="amd64", author="journey")
    yield registry
    registry.kill()


def test_a_tag_is_resolved_before_it_is_signed_and_runs_by_its_digest(
    quick: Cli, submitter: Submitter, python: LocalRegistry, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text("print('from a registry')")
    flags = [
        *("submit", "job", "--name", "by tag", "--docker-image", f"{python.host}/team/python:3.11"),
        *("--input-script-cid", quick.json("add", tmp_path / "script.py")["cid"]),
        *("--payment-token", "DAI", "--payment-amount", "5", "--memory", "128MiB", "--disk", "64MiB"),
    ]
    digest = python.digest("team/python", "3.11")

    asked = quick.run(*flags, stdin="n\n")
    assert f"{python.host}/team/python@{digest}, linux/amd64" in asked.stdout
    submitted = quick.json(*flags, "--yes")
    assert submitted["image"] == f"{python.host}/team/python@{digest}"

    submitter.wait(submitted["job"], JobState.DELIVERED, timeout=PATIENCE)
    result = submitter.results(submitted["job"], tmp_path / "out")
    assert result.exit_record is not None
    assert result.exit_record.exit_code == 0
    assert "from a registry" in (tmp_path / "out" / "log.txt").read_text()
    submitter.approve(submitted["job"])
