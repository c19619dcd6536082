"""Tables of the ways in that need no password: passkeys, and people as another site knows them.

Split from `tables` by noun; what holds for that file holds here.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from webui.storage.tables import Base, new_id, utc_now


class PasskeyRow(Base, kw_only=True):
    """A passkey of one person: the public half of a pair; the secret never leaves their device.

    Attributes:
        id: By which its owner names or removes it; opens nothing.
        credential_id: By which the device finds its half; base64url without padding.
        public_key: In COSE form.
        sign_count: Of the last sign-in; 0 where the device does not count.
        name: As its owner calls it.
        backed_up: Kept by the device's maker too, so it outlives the device.
    """

    __tablename__ = "passkeys"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    credential_id: Mapped[str] = mapped_column(unique=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    public_key: Mapped[bytes] = mapped_column(repr=False)
    sign_count: Mapped[int] = mapped_column(BigInteger, default=0)
    name: Mapped[str]
    backed_up: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)


class ExternalIdentityRow(Base, kw_only=True):
    """Who somebody is at another site that vouches for them.

    Attributes:
        issuer: The site: the `iss` of OpenID Connect, or `proxy` for a header of a named proxy.
        subject: Of the person there; never given to anybody else (`sub`).
    """

    __tablename__ = "external_identities"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
