"""One block by its CID, as the trustless gateway specification of IPFS has it: `?format=raw`, or an Accept of the same meaning."""

from starlette.requests import Request
from starlette.responses import Response

from deai.cid import Cid
from deai.errors import BadContent, ContentMissing, StoreUnavailable
from deai.store import Store
from deai_market.errors import NotAcceptable, NotFound

RAW = "application/vnd.ipld.raw"


def block(request: Request, text: str, wanted: str | None, store: Store) -> Response:
    """The response. Raises BadField, NotAcceptable, NotFound, StoreUnavailable."""
    accepted = {part.split(";")[0].strip() for part in request.headers.get("accept", "").split(",")}
    if wanted != "raw" and (wanted is not None or RAW not in accepted):
        raise NotAcceptable(f"only single blocks are served: ask with ?format=raw, or Accept: {RAW}")
    cid = Cid.parse(text)
    headers = {
        "ETag": f'"{text}.raw"',
        "Cache-Control": "public, max-age=29030400, immutable",
        "Content-Disposition": f'attachment; filename="{text}.bin"',
        "X-Content-Type-Options": "nosniff",
        "X-Ipfs-Path": f"/ipfs/{text}",
        "X-Ipfs-Roots": text,
        "Vary": "Accept",
    }
    if headers["ETag"] in {
        part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")
    }:
        return Response(status_code=304, headers=headers)
    try:
        data = store.get(cid)
    except ContentMissing as error:
        raise NotFound(f"no block {text} here") from error
    except BadContent as error:
        raise StoreUnavailable(f"the block {text} is damaged here") from error
    return Response(data, media_type=RAW, headers=headers)
