"""How to open this server on another device: its addresses, with a QR code of each.

Knows how a request says where it came in; the rest is the network's.
"""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep
from webui.network import qr
from webui.network.hosts import LOOPBACK_HOSTS

router = APIRouter(prefix="/api/lan")


class Address(msgspec.Struct, frozen=True):
    """One way in.

    Attributes:
        url: Address of the page.
        qr: The same as one SVG element.
    """

    url: str
    qr: str


class LanView(msgspec.Struct, frozen=True):
    """What another device must know.

    Attributes:
        is_open: Whether others can reach this server.
        addresses: Ways in, best first.
        fingerprint: SHA-256 of our certificate authority; None where it is not ours.
    """

    is_open: bool
    addresses: tuple[Address, ...]
    fingerprint: str | None


@router.get("")
async def get_lan(request: Request, runtime: RuntimeDep, actor: ActorDep) -> Response:  # noqa: ARG001 - for everybody who is signed in
    """Return the addresses of this server for other devices."""
    lan = runtime.lan
    urls = list(lan.urls())
    host = request.headers["host"]
    if host.rpartition(":")[0] not in LOOPBACK_HOSTS and host not in LOOPBACK_HOSTS:
        # Whoever asks came in by a way that others may take too, such as a proxy.
        seen = f"{request.scope['scheme']}://{host}{runtime.settings.root_path}"
        urls = [seen, *(url for url in urls if url != seen)]
    return Json(
        LanView(
            is_open=bool(urls),
            addresses=tuple(Address(url, qr.svg(f"{url}/")) for url in urls),
            fingerprint=lan.certificates.fingerprint if lan.certificates else None,
        )
    )
