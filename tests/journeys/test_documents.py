"""What the documents show, run as it stands but for the addresses."""

from pathlib import Path

import pytest

from deai.job import JobId, JobState
from deai.localnet import Localnet
from deai.submitter import Result, Submitter
from tests.journeys.users import ROOT


def test_the_sdk_example_of_the_client_readme_is_paid(
    net: Localnet, image: str, submitter: Submitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = (ROOT / "client" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    for shown, here in {
        "deployment.json": str(net.deployment_file),
        "keys/default.json": str(net.folder / "home" / "keys" / "submitter.json"),
        "the key's password": net.password_file.read_text(),
        "http://127.0.0.1:8545": net.rpc,
        "http://127.0.0.1:8420": net.market_url,
        '"store"': repr(str(net.store("submitter"))),
        '"home"': repr(str(tmp_path / "home")),
        "bafybei...": image,
    }.items():
        assert shown in example
        example = example.replace(shown, here)

    names: dict[str, object] = {}
    exec(compile(example, "client/README.md", "exec"), names)  # noqa: S102 - the example is ours
    used = names["submitter"]
    assert isinstance(used, Submitter)
    used.market.close()
    used.store.close()

    result = names["result"]
    assert isinstance(result, Result)
    assert (tmp_path / "out" / "log.txt").read_text() == "2\n"
    assert result.exit_record is not None
    assert result.exit_record.succeeded
    assert submitter.chain.state(JobId(str(names["job"])))[0] is JobState.CLOSED
