"""The arrows of the house: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "deai": ROOT / "client" / "deai",
    "deai_market": ROOT / "market" / "deai_market",
    "deai_provider": ROOT / "provider_agent" / "deai_provider",
}
MAY_USE = {
    "deai": {"deai"},
    "deai_market": {"deai_market", "deai"},
    "deai_provider": {"deai_provider", "deai"},
}

# A library, and the only files that may import it: its adapters.
ONLY_IN = {
    "rich": {"client/deai/progress.py", "client/deai/screen.py", "client/deai/watch.py"},
    "web3": {"client/deai/web3_chain.py"},
    "docker": {
        "provider_agent/deai_provider/docker_engine.py",
        "provider_agent/deai_provider/docker_executor.py",
        "provider_agent/deai_provider/docker_images.py",
    },
    "ipfshttpclient": {"client/deai/kubo_store.py"},
    "httpcore": {
        "client/deai/gateway_store.py",
        "client/deai/timed_network.py",
        "provider_agent/deai_provider/outbound.py",
    },
    "pynvml": {"provider_agent/deai_provider/hardware.py"},
    "brownie": set[str](),
    "fastapi": {"market/deai_market/app.py", "market/deai_market/routes.py"},
}

# Pure files: values in, values out. No clock, no disk, no network, no port's adapter.
PURE = [
    "client/deai/job.py",
    "client/deai/spec.py",
    "client/deai/ask.py",
    "client/deai/signing.py",
    "client/deai/cid.py",
    "client/deai/dag_pb.py",
    "client/deai/escrow.py",
    "client/deai/codec.py",
    "client/deai/result.py",
    "client/deai/panel.py",
    "client/deai/panel_errors.py",
    "client/deai/words.py",
    "client/deai/log_lines.py",
    "client/deai/addresses.py",
    "client/deai/image_reference.py",
    "client/deai/arbitration.py",
    "client/deai/permit.py",
    "client/deai/verification.py",
    "market/deai_market/matching.py",
    "provider_agent/deai_provider/policy.py",
    "provider_agent/deai_provider/reconcile.py",
    "provider_agent/deai_provider/reproducible.py",
]
IMPURE = {
    "os",
    "time",
    "socket",
    "subprocess",
    "threading",
    "httpx",
    "sqlite3",
    "sqlmodel",
    "random",
    "secrets",
    "shutil",
    "web3",
}


def files(package: str) -> list[Path]:
    found = sorted(PACKAGES[package].rglob("*.py"))
    assert found, f"{package} has no files: the test looks in the wrong place"
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_use_only_those_below_them(package: str) -> None:
    for path in files(package):
        ours = {name.partition(".")[0] for name in imports(path)} & set(PACKAGES)
        assert ours <= MAY_USE[package], f"{path.relative_to(ROOT)} imports {ours - MAY_USE[package]}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_by_its_adapters_only(library: str) -> None:
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in files(package)
        if library in {name.partition(".")[0] for name in imports(path)}
    }
    assert found <= ONLY_IN[library]
    assert found or not ONLY_IN[library], f"nobody imports {library}: the rule is dead"


@pytest.mark.parametrize("name", PURE)
def test_pure_files_reach_nothing_outside(name: str) -> None:
    reached = {each.partition(".")[0] for each in imports(ROOT / name)}
    assert not reached & IMPURE


def test_pure_files_of_the_client_use_no_adapter() -> None:
    pure = {f"deai.{Path(name).stem}" for name in PURE if name.startswith("client/")} | {
        "deai.errors",
        "deai.chain",
    }
    for name in PURE:
        if name.startswith("client/") and Path(name).stem != "result":
            ours = {
                each for each in imports(ROOT / name) if each.count(".") == 1 and each.startswith("deai.")
            }
            assert ours <= pure, f"{name} imports {ours - pure}"


def test_there_are_no_import_cycles_between_files_of_a_package() -> None:
    for package, folder in PACKAGES.items():
        names = {
            f"{package}.{path.relative_to(folder).with_suffix('').as_posix().replace('/', '.')}": path
            for path in files(package)
            if path.name != "__init__.py"
        }
        graph = {name: {each for each in imports(path) if each in names} for name, path in names.items()}
        done: set[str] = set()

        def visit(
            name: str, trail: tuple[str, ...], graph: dict[str, set[str]] = graph, done: set[str] = done
        ) -> None:
            assert name not in trail, " -> ".join((*trail, name))
            if name not in done:
                for other in graph[name]:
                    visit(other, (*trail, name))
                done.add(name)

        for name in graph:
            visit(name, ())
