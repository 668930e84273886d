"""`deai-market`: serves a market until it is told to stop."""

import argparse
import gc
import logging
import signal
import sys
import threading
from importlib.metadata import version

from deai import keys, settings
from deai.content import open_store
from deai.deployment import Deployment
from deai.errors import BadField, DeaiError
from deai.journal import Journal
from deai.web3_chain import Web3Chain
from deai_market.app import serving
from deai_market.market import Market
from deai_market.settings import Settings

_log = logging.getLogger("deai_market")


def main() -> None:
    """Runs the market; exit code 0 after SIGTERM or SIGINT, 2 for a wrong setting, 3 for a part out of reach."""
    # What was imported stays to the end: nobody looks through it again, neither on the way nor, for half a second, at the exit.
    gc.freeze()
    _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # httpx would write down every URL.
    for chatty in ("uvicorn", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        read = settings.load(Settings)
        market = _open(read)
        with serving(market, read.host, read.port, read.origins) as url:
            _log.info("listening on %s", url)
            stop.wait()
    except DeaiError as error:
        sys.stderr.write(f"deai-market: {error}\n")
        sys.exit(error.exit_code)
    _log.info("stopped")


def _options() -> None:
    parser = argparse.ArgumentParser(
        prog="deai-market",
        description="Serves a market until SIGTERM or SIGINT. Its settings are environment variables:",
        epilog=settings.described(Settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('deai-market')}")
    parser.parse_args()


def _open(read: Settings) -> Market:
    deployment = Deployment.load(read.deployment)
    try:
        password = read.password_file.read_text().rstrip("\n")
    except OSError as error:
        raise BadField(
            "password_file", str(read.password_file), f"cannot be read: {error.strerror}"
        ) from error
    account = keys.unlock(read.key, password)
    chain = Web3Chain(read.rpc, deployment, journal=Journal(read.data / "journal"))
    return Market(
        chain, deployment, open_store(read.store, "DEAI_MARKET_STORE"), account, read.data, rules=read.rules
    )


if __name__ == "__main__":
    main()
