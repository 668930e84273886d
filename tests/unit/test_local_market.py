from pathlib import Path

import pytest

from deai.errors import WrongRequest
from deai.local_market import LocalMarket


def test_starting_over_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("years")
    (tmp_path / "market").mkdir()

    with LocalMarket(tmp_path).up(print, fresh=True):
        pass
    assert {"thesis", "market"} <= {each.name for each in tmp_path.iterdir()}, "no market was ever here"

    (tmp_path / "ports.json").write_text("{}")
    with LocalMarket(tmp_path).up(print, fresh=True):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"thesis", "lock"}
    assert (tmp_path / "thesis" / "a.tex").read_text() == "years"


def test_a_folder_that_cannot_be_used_is_named() -> None:
    with (
        pytest.raises(WrongRequest, match="DEAI_LOCAL: /proc/nowhere"),
        LocalMarket(Path("/proc/nowhere")).up(print),
    ):
        pass


def test_a_local_market_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    with LocalMarket(tmp_path / "local").up(print):
        assert (tmp_path / "local").stat().st_mode & 0o077 == 0
