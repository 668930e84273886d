"""A whole market on this machine: chain, escrow, market and provider agent, started by name and stopped again.

One starter for `deai up`, the demo and the tests. All it writes is in one folder; started in the same folder again, it goes on where it stopped.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx

from deai import keys
from deai.anvil import LOCAL_CHAIN_ID, LOCAL_PACE, MNEMONIC, AnvilNode, anvil_binary, local_account
from deai.authorities import authorities
from deai.content import opened
from deai.deployment import Deployment
from deai.engine import engine_answers, lacking_engine, start_engine
from deai.errors import BadField, ChainUnavailable, Unavailable, WrongRequest
from deai.home import Home
from deai.job import Address, Wei
from deai.journal import Journal
from deai.market_api import MarketApi
from deai.panel import CasePace
from deai.panel_contract import PanelContract
from deai.program import Program, find_program, free_port, is_free, write_down
from deai.settings import ContentSettings
from deai.submitter import Submitter
from deai.web3_chain import Web3Chain

__all__ = [
    "LOCAL_CHAIN_ID",
    "Localnet",
    "Program",
    "anvil_binary",
    "engine_answers",
    "free_port",
    "local_account",
    "start_engine",
]

SYMBOL = "DAI"
_BLOCK_SECONDS = 12
_JUDGED_BLOCK_SECONDS = 3
"""With verifiers: a draw waits for two blocks."""
_ROLES = ("deployer", "market", "provider", "submitter")
_PRICES = {"job": "0.01", "core_second": "0.00001", "gib_second": "0.000005", "gpu_second": "0.001"}
_PROGRAMS = {"deai-market": "pip install deai-market", "deai-provider": "pip install deai-provider"}

Say = Callable[[str], None]


class Localnet:
    """Chain, escrow, market and provider agent in one folder. A context manager: all it started ends with it.

    A subclass may replace a part's command or environment, or the `pace` of the panel's cases; `docker_host` names the engine the agent
    uses, which is then not started here.
    """

    pace: ClassVar[CasePace] = LOCAL_PACE

    def __init__(self, folder: Path, say: Say, *, docker_host: str | None = None, verifiers: int = 0) -> None:
        self.folder, self.say, self.docker_host, self.verifiers = folder, say, docker_host, verifiers
        self.block_seconds = _JUDGED_BLOCK_SECONDS if verifiers else _BLOCK_SECONDS
        self.programs: dict[str, Program] = {}
        self.accounts = {role: local_account(index) for index, role in enumerate(_ROLES)}
        self.deployment_file = folder / "deployment.json"
        self.password_file = folder / "password"
        self.chain_file = folder / "chain.json"
        self.running_file = folder / "running.json"
        self.rpc, self.market_url = _addresses(folder / "ports.json")
        self._node = AnvilNode(self.rpc)
        self._journal = Journal(folder / "home" / "journal")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # All of it.

    def start(self) -> None:
        """Starts every part. Raises Unavailable that names all that is missing before anything is started."""
        self.check()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_keys()
        if self.docker_host is None:
            engine = start_engine(self.folder / "logs" / "dockerd.log", self.say)
            if engine is not None:
                self._took(engine)
        self.start_anvil()
        is_new = not self.chain_file.exists()
        if is_new:
            self._deploy()
        self._check_escrow()
        market = self.spawn_market()
        if is_new:
            # While the market starts.
            self._fund()
            self.save_chain()
        self._wait_for_market(market)
        self.start_provider()
        for index in range(self.verifiers):
            self.start_verifier(index)

    def check(self) -> None:
        """Raises Unavailable that names every part which this machine lacks, and how to get it."""
        lacking = [
            f"{name}: not found; {get}" for name, get in _PROGRAMS.items() if find_program(name) is None
        ]
        try:
            anvil_binary()
        except ChainUnavailable as error:
            lacking.append(str(error))
        if self.docker_host is None:
            lacking += filter(None, [lacking_engine()])
        elif not engine_answers(self.docker_host):
            lacking.append(f"docker: no engine answers at {self.docker_host}")
        if os.geteuid() != 0:
            lacking.append("root: the provider agent mounts a volume of limited size for each job")
        if lacking:
            raise Unavailable("; ".join(lacking))

    def stop(self, name: str | None = None) -> None:
        """Ends the program of that name, or everything that was started here, last first. The chain is saved before its node ends."""
        for each in [name] if name else list(reversed(self.programs)):
            program = self.programs[each]
            if each == "anvil" and program.exit_code is None and self.chain_file.exists():
                self._save_last()
            program.stop()
            del self.programs[each]
        self._write_running()

    def kill(self, name: str) -> None:
        """Ends the program of that name as a power cut would. Of the chain stays what was saved last."""
        self.programs.pop(name).kill()
        self._write_running()

    # Part by part.

    def start_anvil(self) -> None:
        """Starts the chain, from where it was saved last."""
        loaded = self.chain_file.exists()
        program = self._spawn("anvil", self.anvil_command())
        program.wait_for(lambda: self._node.answers, ChainUnavailable)
        if loaded:
            self._node.catch_up()
        self.say(f"Local chain at {self.rpc}{', as it was left' if loaded else ''}")

    def start_market(self) -> None:
        """Starts the market."""
        self._wait_for_market(self.spawn_market())

    def start_provider(self) -> None:
        """Starts the provider agent, and waits until the market has its ask: not one that an earlier agent left."""
        before = self._asks()
        program = self._spawn("deai-provider", self.provider_command(), self.provider_environment())
        program.wait_for(lambda: self._asks() - before != set(), Unavailable)
        self.say("Provider agent is up, its ask is with the market")

    def start_verifier(self, index: int) -> Program:
        """Starts a verifier with a key of its own, which has a stake in the panel's class 0."""
        account = local_account(len(_ROLES) + index)
        name, address, panel = f"verifier-{index}", Address(account.address), self.panel()
        keys_folder = self.folder / "home" / "keys"
        if not (keys_folder / f"{name}.json").exists():
            keys.save(account, keys_folder, name, self.password_file.read_text(), light=True)
        if not panel.tickets(0, address):
            self.mint(address, panel.rules.seat_stake)
            panel.stake(account, 0, 1)
        program = self._spawn(name, [_program("deai-provider"), "verify"], self.verifier_environment(index))
        self.say(f"Verifier {index + 1} is up, its stake is with the panel")
        return program

    def spawn_market(self) -> Program:
        """Starts the market, and does not wait for it."""
        return self._spawn("deai-market", self.market_command(), self.market_environment())

    def save_chain(self) -> None:
        """Saves the chain, to go on from there after its node was killed."""
        self._node.save(self.chain_file)

    # What a part is started with.

    def anvil_command(self) -> list[str]:
        """The chain's node."""
        port = self.rpc.rpartition(":")[2]
        command = [
            str(anvil_binary()),
            "--port",
            port,
            "--hardfork",
            "cancun",
            "--chain-id",
            str(LOCAL_CHAIN_ID),
            # With each transaction, and else now and then: verifiers are drawn by a later block than the one that asks for it.
            "--mixed-mining",
            "--block-time",
            str(self.block_seconds),
        ]
        load = ["--load-state", str(self.chain_file)] if self.chain_file.exists() else []
        return [*command, "--mnemonic", MNEMONIC, *load]

    def market_command(self) -> list[str]:
        """The market."""
        return [_program("deai-market")]

    def provider_command(self) -> list[str]:
        """The provider agent."""
        return [_program("deai-provider"), "run"]

    def client_environment(self) -> dict[str, str]:
        """The settings of `deai` for this market, as its submitter."""
        own = {
            "home": self.folder / "home",
            "key": "submitter",
            "market": self.market_url,
            "store": self.store("submitter"),
        }
        return self._environment("DEAI_", own)

    def market_environment(self) -> dict[str, str]:
        """The settings of `deai-market`."""
        own = {
            "data": self.folder / "market",
            "store": self.store("market"),
            "host": "127.0.0.1",
            "port": self.market_url.rpartition(":")[2],
            "key": self.folder / "home" / "keys" / "market.json",
            # A chain that rests makes no blocks on top: what is mined is final.
            "confirmations": 0,
            "callback_private": True,
        }
        return self._environment("DEAI_MARKET_", own)

    def provider_environment(self) -> dict[str, str]:
        """The settings of `deai-provider`."""
        own = {
            "name": self.agent_name,
            "market": self.market_url,
            "work": self.folder / "provider",
            "store": self.store("provider"),
            "key": self.folder / "home" / "keys" / "provider.json",
            "slots": 2,
            # Everybody here is on this machine anyway.
            "private_registries": "true",
            "confirmations": 0,
            "prices": json.dumps({"DAI": _PRICES, "ETH": _PRICES}),
            "max_bond": json.dumps({"DAI": "200", "ETH": "50"}),
        }
        engine = {} if self.docker_host is None else {"DOCKER_HOST": self.docker_host}
        return self._environment("DEAI_PROVIDER_", own) | engine

    def verifier_environment(self, index: int) -> dict[str, str]:
        """The settings of `deai-provider verify`: those of the provider, with a name, a key and folders of its own."""
        name = f"verifier-{index}"
        own = {
            "name": f"{self.agent_name}-{index}",
            "work": self.folder / name,
            "store": self.store(name),
            "key": self.folder / "home" / "keys" / f"{name}.json",
        }
        return self.provider_environment() | {f"DEAI_PROVIDER_{key.upper()}": str(own[key]) for key in own}

    def store(self, role: str) -> Path:
        """The folder of the content store of `submitter`, `provider`, `market` or a verifier: each has its own, as if on its own machine."""
        return self.folder / "stores" / role

    @contextmanager
    def submitter(self) -> Iterator[Submitter]:
        """The SDK with the key, the store and the home folder of `client_environment`."""
        account = keys.unlock(
            self.folder / "home" / "keys" / "submitter.json", self.password_file.read_text()
        )
        settings = ContentSettings(store=str(self.store("submitter")), gateways=(), share="market")
        with (
            MarketApi(self.market_url, self.deployment.domain) as market,
            opened(settings, market, account) as content,
        ):
            home = Home(self.folder / "home")
            yield Submitter(account, self.deployment, self.chain(), market, content, home, self.panel())

    @property
    def agent_name(self) -> str:
        """The agent's name, which marks its containers: another folder's agent leaves them alone."""
        return f"local-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]}"

    # The chain.

    def chain(self) -> Web3Chain:
        """The escrow on this chain."""
        return Web3Chain(self.rpc, self.deployment, journal=self._journal)

    def panel(self) -> PanelContract:
        """The panel on this chain."""
        return PanelContract(self.rpc, self.deployment, journal=self._journal)

    @property
    def deployment(self) -> Deployment:
        """The escrow's place, the panel's, and the tokens'."""
        return Deployment.load(self.deployment_file)

    def mint(self, account: Address, amount: Wei) -> None:
        """Gives `account` that much of the test token, out of nothing."""
        self._node.mint(self.deployment.token(SYMBOL).address, account, amount)

    def advance(self, seconds: int) -> None:
        """Moves the chain's clock, and mines a block. The machine's clock stays."""
        self._node.advance(seconds)

    def node(self, method: str, *params: object) -> Any:
        """One JSON-RPC call to the chain's node. Raises ChainUnavailable."""
        return self._node.call(method, *params)

    # Inside.

    def _save_last(self) -> None:
        """What cannot be saved must not keep the rest from being stopped."""
        try:
            self.save_chain()
        except (ChainUnavailable, OSError) as error:
            self.say(f"The chain's last seconds are lost: {error}")

    def _environment(self, prefix: str, own: Mapping[str, object]) -> dict[str, str]:
        shared = {
            "rpc": self.rpc,
            "deployment": self.deployment_file,
            "password_file": self.password_file,
        }
        return {f"{prefix}{name.upper()}": str(value) for name, value in {**shared, **own}.items()}

    def _spawn(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Program:
        return self._took(Program(name, command, self.folder / "logs" / f"{name}.log", environment))

    def _took(self, program: Program) -> Program:
        self.programs[program.name] = program
        self._write_running()
        return program

    def _write_running(self) -> None:
        if self.folder.exists():
            write_down(self.running_file, [each.running for each in self.programs.values()])

    def _write_keys(self) -> None:
        if not self.password_file.exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(24))
        folder, password = self.folder / "home" / "keys", self.password_file.read_text()
        for role, account in self.accounts.items():
            if not (folder / f"{role}.json").exists():
                keys.save(account, folder, role, password, light=True)

    def _deploy(self) -> None:
        deployment = self._node.deploy(SYMBOL, self.pace)
        self.deployment_file.write_text(deployment.model_dump_json(indent=2) + "\n")
        self.say(f"Escrow deployed at {deployment.contract}")

    def _check_escrow(self) -> None:
        if self.node("eth_getCode", self.deployment.contract, "latest") == "0x":
            raise WrongRequest(f"{self.chain_file} does not hold the escrow; start over in an empty folder")

    def _fund(self) -> None:
        deployment = self.deployment
        token = deployment.token(SYMBOL)
        for role, amount in (("submitter", "900"), ("provider", "100")):
            account = Address(self.accounts[role].address)
            self.mint(account, token.amount("1000"))
            self._node.deposit(deployment.contract, token.address, account, token.amount(amount))

    def _wait_for_market(self, program: Program) -> None:
        program.wait_for(lambda: _answers(f"{self.market_url}/health"), Unavailable)
        self.say(f"Market at {self.market_url}")

    def _asks(self) -> set[str]:
        try:
            found = httpx.get(f"{self.market_url}/asks", timeout=10, trust_env=False, verify=authorities())
            return {str(each) for each in found.json()}
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"the market at {self.market_url} does not answer: {error}") from error


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        raise Unavailable(f"{name}: not found; {_PROGRAMS[name]}")
    return str(found)


def kept_ports(path: Path) -> list[int]:
    """The ports of chain and market that a folder's `ports.json` names; none if there is no such file. Raises BadField."""
    try:
        return [int(port) for port in json.loads(path.read_text())] if path.exists() else []
    except (ValueError, TypeError) as error:
        raise BadField("ports", str(path), "is not a list of ports; remove it") from error


def _addresses(path: Path) -> tuple[str, str]:
    """Where the chain and the market listen: as before, so that shells which know it need not be told."""
    ports = kept_ports(path)
    if len(ports) != 2 or not all(is_free(port) for port in ports):
        ports = [free_port(), free_port()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps(ports))
    rpc, market = (f"http://127.0.0.1:{port}" for port in ports)
    return rpc, market


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False, verify=authorities()).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
