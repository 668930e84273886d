"""Content as one party sees it: its own store first, then the gateways it may read from; and how it gets to the others."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deai import dag_pb
from deai.cid import Cid, Codec
from deai.errors import BadContent, BadField, ContentMissing, ContentOutOfReach, StoreUnavailable
from deai.local_store import LocalStore
from deai.store import Block, Store

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from deai.market_api import MarketApi
    from deai.settings import ContentSettings
    from deai.upload import Uploader

_SEARCH_SECONDS = 30.0
_ADDRESSES = ("http://", "https://", "/ip4/", "/ip6/", "/dns/", "/dns4/", "/dns6/", "/unix/")


def always() -> bool:
    """Yes."""
    return True


class Content:
    """A store made of a party's own and the `sources` that it may read from. Thread-safe if they are.

    What comes from a source is not kept: it is on its way into a file, and kept there. Sources are believed nothing: one that sends other
    bytes, or none, is passed over for the next one, and the one that served is asked first from then on.
    """

    def __init__(self, own: Store, sources: Sequence[Store] = (), uploader: "Uploader | None" = None) -> None:
        """`uploader` hands to a market what is to be shared; None where nothing is."""
        self.own = own
        self._uploader = uploader
        self._sources, self._ordering = list(sources), threading.Lock()

    def close(self) -> None:
        """Closes the connections of its parts that have any."""
        for part in (self.own, *self._asked()):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def put(self, blocks: Iterable[Block]) -> None:
        """Keeps the blocks in the party's own store, durably. Raises BadContent, StoreUnavailable."""
        self.own.put(blocks)

    def pin(self, root: Cid) -> None:
        """Keeps everything below `root` in the party's own store. Raises ContentMissing, StoreUnavailable."""
        self.own.pin(root)

    def get(self, cid: Cid) -> bytes:
        """The bytes of one block, verified.

        Raises ContentMissing that tells what each one said, when nobody has it, and ContentOutOfReach when some source could not be asked;
        StoreUnavailable when none could, or the own store failed; BadContent when the own one's block is damaged and nobody else has it.
        """
        damaged: BadContent | None = None
        try:
            return self.own.get(cid)
        except ContentMissing as error:
            said = [str(error)]
        except BadContent as error:
            damaged, said = error, [str(error)]
        asked = self._asked()
        silent = 0
        for source in asked:
            try:
                data = source.get(cid)
            except ContentMissing as error:
                said.append(str(error))
            except (BadContent, StoreUnavailable) as error:
                said.append(str(error))
                silent += isinstance(error, StoreUnavailable)
            else:
                self._prefer(source)
                return data
        if asked and silent == len(asked):
            raise StoreUnavailable("; ".join(said))
        raise damaged or (ContentOutOfReach if silent else ContentMissing)("; ".join(said))

    def has(self, cid: Cid) -> bool:
        """Whether the block is here or a source says that it has it. Raises StoreUnavailable when no source could be asked."""
        if self.own.has(cid):
            return True
        asked, silent = self._asked(), list[str]()
        for source in asked:
            try:
                if source.has(cid):
                    self._prefer(source)
                    return True
            except StoreUnavailable as error:
                silent.append(str(error))
        if asked and len(silent) == len(asked):
            raise StoreUnavailable("; ".join(silent))
        return False

    def share(self, root: Cid, go_on: Callable[[], bool] = always, seconds: float = math.inf) -> bool:
        """Hands everything below `root` to the market, where others read it; only what is missing there is sent. True once all is there, or
        when this party shares nothing; False when `go_on()`, asked between requests, said no, or `seconds` are over: the market can keep
        this waiting no longer. A further call goes on from there.

        Raises WrongRequest when the market takes nothing (more) from this account; ContentMissing, StoreUnavailable, MarketUnavailable.
        """
        if self._uploader is None:
            return True
        return self._uploader.send(self._tree(root), self.get, go_on, seconds)

    def _tree(self, root: Cid) -> Iterator[Cid]:
        """Each block below `root` once, the root last: whoever finds it there finds all. Leaves are not looked at."""
        seen, above, waiting = {root}, list[Cid](), [root]
        while waiting:
            cid = waiting.pop()
            if cid.codec is Codec.RAW:
                yield cid
                continue
            above.append(cid)
            fresh = dict.fromkeys(link.cid for link in dag_pb.decode(cid, self.get(cid)).links)
            waiting.extend(link for link in fresh if link not in seen)
            seen.update(fresh)
        yield from reversed(above)

    def _asked(self) -> list[Store]:
        with self._ordering:
            return list(self._sources)

    def _prefer(self, source: Store) -> None:
        """Asks it first from now on: others that lie or stall cost one block, not each."""
        with self._ordering:
            if source is not self._sources[0]:
                self._sources.remove(source)
                self._sources.insert(0, source)


@contextmanager
def opened(settings: "ContentSettings", market: "MarketApi", account: "LocalAccount") -> Iterator[Content]:
    """The content of the party that these settings describe, read from its store, the market, and further gateways; `account` signs what it
    hands to the market. Connections close when the block ends. Raises BadField that names the setting, StoreUnavailable.
    """
    from deai.gateway_store import GatewayStore  # noqa: PLC0415 - `deai add` needs no network
    from deai.upload import Uploader  # noqa: PLC0415

    prefix = settings.model_config.get("env_prefix", "")
    sources: list[Store] = []
    for url in (market.url, *settings.gateways):
        try:
            sources.append(GatewayStore(url))
        except BadField as error:
            raise BadField(f"{prefix}GATEWAYS", url, error.rule) from error
    share = settings.share or ("no" if is_kubo(settings.store) else "market")
    if is_kubo(settings.store):
        # The node is asked for what it has, then the gateways; only then may it search its network, which takes long.
        sources.append(open_store(settings.store, f"{prefix}STORE", search_seconds=_SEARCH_SECONDS))
    own = open_store(settings.store, f"{prefix}STORE")
    with closing(Content(own, sources, Uploader(market, account) if share == "market" else None)) as content:
        yield content


def open_store(text: str, setting: str, *, search_seconds: float = 0) -> Store:
    """The store that a setting names: a folder, or the API of a Kubo node (`http://127.0.0.1:5001`, `/ip4/127.0.0.1/tcp/5001`), which searches
    its network for `search_seconds`.

    Raises BadField that names the setting for what is neither, StoreUnavailable.
    """
    if is_kubo(text):
        from deai.kubo_store import KuboStore  # noqa: PLC0415 - its library takes a while to load

        try:
            return KuboStore(text, search_seconds=search_seconds)
        except BadField as error:
            raise BadField(setting, text, error.rule) from error
    if not text or "://" in text:
        raise BadField(
            setting, text, "is neither a folder nor the address of a Kubo node (`http://127.0.0.1:5001`)"
        )
    return LocalStore(Path(text))


def is_kubo(text: str) -> bool:
    """Whether a setting names a Kubo node rather than a folder."""
    return text.startswith(_ADDRESSES)
