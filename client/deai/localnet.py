"""A whole market on this machine: chain, escrow, market and provider agent, started by name and stopped again.

For trying things out and for tests. The keys are those of Anvil's well-known mnemonic: worth nothing, and used on the local chain only.
"""

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from deai import keys
from deai.deployment import Deployment
from deai.errors import ChainUnavailable, DeaiError, EngineUnavailable, Unavailable
from deai.job import Address, Wei
from deai.web3_chain import Web3Chain

LOCAL_CHAIN_ID = 31337
_MNEMONIC = "test test test test test test test test test test test junk"
_ROLES = ("deployer", "market", "provider", "submitter")
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_ENGINE_SECONDS = 5.0

Say = Callable[[str], None]


def local_account(index: int) -> LocalAccount:
    """The account of that index of Anvil's well-known mnemonic. Only for a local chain."""
    Account.enable_unaudited_hdwallet_features()
    account: LocalAccount = Account.from_mnemonic(_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    return account


def anvil_binary(checkout: Path) -> Path:
    """The native Anvil of the npm package in `checkout`. Raises ChainUnavailable that says how to get it."""
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine().lower(), ""
    )
    binary = checkout / "node_modules" / "@foundry-rs" / f"anvil-{sys.platform}-{machine}" / "bin" / "anvil"
    if not binary.exists():
        raise ChainUnavailable(f"anvil: {binary} is missing; run scripts/setup")
    return binary


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A child process with a log file of its own, ended by its process id."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def wait_for(self, ready: Callable[[], bool], error: type[Unavailable]) -> None:
        """Waits until `ready()`. Raises `error` with the end of the log when the program ends first, or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                tail = " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])
                self.stop()
                raise error(
                    f"{self.name} "
                    + (f"ended with exit code {code}" if code is not None else "did not get ready")
                    + f": {tail}"
                )
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Asks it to end, waits, and kills it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


def engine_answers() -> bool:
    """Whether a Docker engine answers at DOCKER_HOST, or at the default socket."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return _answers(host.replace("tcp://", "http://") + "/_ping")
    with socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(_ENGINE_SECONDS)
        try:
            engine.connect(host.removeprefix("unix://"))
            engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return engine.recv(64).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
        except OSError:
            return False


def start_engine(log: Path, say: Say) -> Program | None:
    """Finds the Docker engine, or starts dockerd, and says so; returns the program if it was started here. Raises EngineUnavailable."""
    if engine_answers():
        return None
    dockerd = shutil.which("dockerd")
    if dockerd is None or os.geteuid() != 0:
        raise EngineUnavailable(
            "docker: no engine answers; start Docker, or run as root with dockerd installed (apt-get install docker.io iptables)"
        )
    say(f"No Docker engine answers; starting dockerd (log: {log}), stopped again at the end")
    program = Program("dockerd", [dockerd], log)
    program.wait_for(engine_answers, EngineUnavailable)
    return program


class Localnet:
    """Chain, escrow, market and provider agent in one folder. A context manager: all it started ends with it."""

    def __init__(self, folder: Path, checkout: Path, say: Say) -> None:
        self.folder, self.checkout, self.say = folder, checkout, say
        self.programs: dict[str, Program] = {}
        self.accounts = {role: local_account(index) for index, role in enumerate(_ROLES)}
        self.rpc = f"http://127.0.0.1:{free_port()}"
        self.market_url = f"http://127.0.0.1:{free_port()}"
        self.deployment_file = folder / "deployment.json"
        # Agents of one name on one engine take each other's containers for strays.
        self.agent_name = f"local-{keccak(text=str(folder.resolve()))[:6].hex()}"
        self.password_file = folder / "password"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_urlsafe(24))
        engine = start_engine(self.folder / "logs" / "dockerd.log", self.say)
        if engine is not None:
            self.programs["dockerd"] = engine
        self.start_anvil()
        self._deploy()
        for role, account in self.accounts.items():
            keys.save(
                account, self.folder / "home" / "keys", role, self.password_file.read_text(), light=True
            )
        self._fund()
        self.start_market()
        self.start_provider()

    def stop(self) -> None:
        """Ends everything that was started here, last first."""
        for name in reversed(list(self.programs)):
            self.programs.pop(name).stop()

    def start_anvil(self) -> None:
        """Starts the chain."""
        port = self.rpc.rpartition(":")[2]
        command = [
            str(anvil_binary(self.checkout)),
            "--port",
            port,
            "--hardfork",
            "cancun",
            "--chain-id",
            str(LOCAL_CHAIN_ID),
        ]
        program = Program("anvil", [*command, "--mnemonic", _MNEMONIC], self.folder / "logs" / "anvil.log")
        self.programs["anvil"] = program
        program.wait_for(self._node_answers, ChainUnavailable)
        self.say(f"Local chain at {self.rpc}")

    def start_market(self) -> None:
        """Starts the market."""
        program = self._spawn("deai-market", self.market_environment())
        program.wait_for(lambda: _answers(f"{self.market_url}/health"), Unavailable)
        self.say(f"Market at {self.market_url}")

    def start_provider(self) -> None:
        """Starts the provider agent, and waits until the market has its ask."""
        program = self._spawn("deai-provider", self.provider_environment(), "run")
        program.wait_for(lambda: self._asks() > 0, Unavailable)
        self.say("Provider agent is up, its ask is with the market")

    def client_environment(self) -> dict[str, str]:
        """The settings of `deai` for this market, as its submitter."""
        return self._environment(
            "DEAI_", {"home": self.folder / "home", "key": "submitter", "market": self.market_url}
        )

    def market_environment(self) -> dict[str, str]:
        """The settings of `deai-market`."""
        own = {
            "data": self.folder / "market",
            "host": "127.0.0.1",
            "port": self.market_url.rpartition(":")[2],
            "key": self.folder / "home" / "keys" / "market.json",
            "confirmations": 1,
        }
        return self._environment("DEAI_MARKET_", own)

    def provider_environment(self) -> dict[str, str]:
        """The settings of `deai-provider`."""
        own = {
            "name": self.agent_name,
            "market": self.market_url,
            "work": self.folder / "provider",
            "key": self.folder / "home" / "keys" / "provider.json",
            "slots": 2,
            "confirmations": 0,
            "prices": '{"DAI": {"job": "0.01", "core_second": "0.00001", "gib_second": "0.000005", "gpu_second": "0.001"}}',
            "max_bond": '{"DAI": "50"}',
        }
        return self._environment("DEAI_PROVIDER_", own)

    def chain(self) -> Web3Chain:
        """The escrow on this chain."""
        return Web3Chain(self.rpc, self.deployment)

    @property
    def deployment(self) -> Deployment:
        """The escrow's place, and the test token's."""
        return Deployment.load(self.deployment_file)

    def mint(self, account: Address, amount: Wei) -> None:
        """Gives `account` that much of the test token, out of nothing."""
        token = self.deployment.token("DAI").address
        data = (
            keccak(text="mint(address,uint256)")[:4]
            + bytes(12)
            + bytes.fromhex(account[2:])
            + amount.to_bytes(32)
        )
        deployer = self.accounts["deployer"].address
        self.node("eth_sendTransaction", {"from": deployer, "to": token, "data": "0x" + data.hex()})

    def advance(self, seconds: int) -> None:
        """Moves the chain's clock, and mines a block. The machine's clock stays."""
        self.node("evm_increaseTime", seconds)
        self.node("evm_mine")

    def node(self, method: str, *params: object) -> Any:
        """One JSON-RPC call to the chain's node."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = httpx.post(self.rpc, json=body, timeout=30).json()
        except httpx.HTTPError as error:
            raise ChainUnavailable(f"{self.rpc}: {error}") from error
        if "error" in answer:
            raise ChainUnavailable(f"{method}: {answer['error']}")
        return answer["result"]

    def _environment(self, prefix: str, own: Mapping[str, object]) -> dict[str, str]:
        shared = {
            "rpc": self.rpc,
            "deployment": self.deployment_file,
            "store": self.folder / "store",
            "password_file": self.password_file,
        }
        return {f"{prefix}{name.upper()}": str(value) for name, value in {**shared, **own}.items()}

    def _spawn(self, name: str, environment: Mapping[str, str], *args: str) -> Program:
        command = Path(sys.executable).with_name(name)
        if not command.exists():
            raise DeaiError(f"{name}: {command} is missing; run scripts/setup")
        program = Program(name, [str(command), *args], self.folder / "logs" / f"{name}.log", environment)
        self.programs[name] = program
        return program

    def _deploy(self) -> None:
        script = self.checkout / "scripts" / "deploy.py"
        command = [
            sys.executable,
            str(script),
            "--rpc",
            self.rpc,
            "--out",
            str(self.deployment_file),
            "--test-token",
            "DAI",
        ]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=self.checkout
        )
        if done.returncode != 0:
            raise ChainUnavailable(f"deploy: {' | '.join((done.stdout + done.stderr).splitlines()[-5:])}")
        self.say(f"Escrow deployed at {self.deployment.contract}")

    def _fund(self) -> None:
        chain, token = self.chain(), self.deployment.token("DAI")
        for role, deposit in (("submitter", "900"), ("provider", "100")):
            account = self.accounts[role]
            self.mint(Address(account.address), token.amount("1000"))
            chain.deposit(account, token.address, token.amount(deposit))

    def _node_answers(self) -> bool:
        try:
            return bool(self.node("eth_chainId") == hex(LOCAL_CHAIN_ID))
        except ChainUnavailable:
            return False

    def _asks(self) -> int:
        return len(httpx.get(f"{self.market_url}/asks", timeout=10).json())


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
