"""The market's gateway: blocks by CID, raw."""

import httpx

from deai.cid import Cid, Codec
from deai.market_api import MarketApi
from deai.store import Block
from tests.market_world import World, spec


def test_the_gateway_serves_verified_blocks_raw(world: World, api: MarketApi, http: httpx.Client) -> None:
    cid = Cid.of(b"some bytes", Codec.RAW)
    world.store.put([Block(cid, b"some bytes")])
    answer = http.get(f"/ipfs/{cid}?format=raw")
    assert (answer.status_code, answer.content) == (200, b"some bytes")
    assert answer.headers["content-type"] == "application/vnd.ipld.raw"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
    assert answer.headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
    assert answer.headers["etag"] == f'"{cid}.raw"'
    assert http.get(f"/ipfs/{cid}", headers={"Accept": "application/vnd.ipld.raw"}).content == b"some bytes"
    assert http.head(f"/ipfs/{cid}?format=raw").headers["content-length"] == "10"
    assert (
        http.get(f"/ipfs/{cid}?format=raw", headers={"If-None-Match": answer.headers["etag"]}).status_code
        == 304
    )
    assert http.get(f"/ipfs/{cid}").status_code == 406
    assert http.get(f"/ipfs/{cid}?format=car").status_code == 406
    assert http.get(f"/ipfs/{Cid.of(b'absent', Codec.RAW)}?format=raw").status_code == 404
    assert http.get("/ipfs/..%2f..%2fetc%2fpasswd?format=raw").status_code in (400, 404)
    assert http.get("/ipfs/nonsense?format=raw").status_code == 400


def test_an_order_puts_its_spec_where_providers_find_it(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    wanted = spec(name="with a spec to find")
    api.submit(world.order(wanted))
    assert http.get(f"/ipfs/{wanted.cid()}?format=raw").content == wanted.canonical()
