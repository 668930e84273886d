"""Whom TLS connections trust."""

import ssl
from functools import cache

import httpx


@cache
def authorities(*, trust_env: bool = True) -> ssl.SSLContext:
    """What to give an httpx client as `verify`: Mozilla's authorities, or with `trust_env` those that SSL_CERT_FILE or SSL_CERT_DIR name.

    Read once for each process. A client that is given nothing reads them for itself, which takes 40 ms, even if it speaks plain HTTP.
    """
    return httpx.create_ssl_context(trust_env=trust_env)
