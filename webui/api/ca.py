"""The certificate of our own authority, for devices that shall trust it: public, as such are.

Knows where it is served and as what; a phone offers to install what has this type.
"""

from fastapi import APIRouter
from starlette.responses import Response

from webui.api.deps import RuntimeDep
from webui.errors import NotFound

MEDIA_TYPE = "application/x-x509-ca-cert"

router = APIRouter(prefix="/ca.crt")


@router.get("")
async def get_ca(runtime: RuntimeDep) -> Response:
    """Return the certificate of the authority in PEM."""
    certificates = runtime.lan.certificates
    if certificates is None or certificates.authority_pem is None:
        raise NotFound(
            "this server has no certificate authority of its own",
            "It makes one when it is started with --tls.",
        )
    named = {"content-disposition": 'attachment; filename="hearthside-ca.crt"'}
    return Response(certificates.authority_pem, media_type=MEDIA_TYPE, headers=named)
