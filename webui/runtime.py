"""What lives while the server runs, in one frozen value.

Made by `app.create_app` alone, handed to the faces; knows none of them and does nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.accounts.accounts import Accounts
    from webui.accounts.api_keys import ApiKeys
    from webui.accounts.defaults import Defaults
    from webui.accounts.groups import Groups
    from webui.accounts.oidc import Oidc
    from webui.accounts.passkeys import Passkeys
    from webui.accounts.proxy_sign_in import ProxySignIn
    from webui.accounts.quotas import Quotas
    from webui.accounts.sign_ins import SignIns
    from webui.accounts.usage import Usage
    from webui.accounts.users import Users
    from webui.administration.administration import Administration
    from webui.administration.reading import Reading
    from webui.chat.conversations import Conversations
    from webui.chat.embeddings import Embeddings
    from webui.chat.event_log import EventLog
    from webui.chat.generations import Generations
    from webui.chat.models import Models
    from webui.chat.parameters import Parameters
    from webui.chat.server_prompt import ServerPrompt
    from webui.chat.sharing import Sharing
    from webui.chat.trash import Trash
    from webui.engine.pool import EnginePool
    from webui.hub.catalog import Catalog
    from webui.jobs import Jobs
    from webui.network.lan import Lan
    from webui.settings import Settings
    from webui.storage.backup import Backups
    from webui.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The live objects of one server; faces reach use cases through it.

    Attributes:
        settings: What the server was told at start.
        database: The store; faces do not touch it but through use cases.
        backups: Of the store.
        accounts: Use cases of one's own account, and who sends a request.
        oidc: Use cases of signing in by a provider.
        proxy_sign_in: The use case of signing in by the word of a proxy.
        users: Use cases of administrators for accounts.
        sign_ins: Use cases of administrators for everybody's sign-ins.
        reading: Use cases of administrators who look into chats.
        administration: Use cases of administrators for the server as a whole.
        api_keys: Use cases of keys for programs.
        passkeys: Use cases of passkeys.
        groups: Use cases of administrators: groups and limits.
        defaults: Use cases of administrators: what people get who have nothing of their own.
        quotas: What everybody may use, and has used.
        usage: Use cases of what was used.
        pool: The loaded model.
        catalog: The model files on disk.
        events: What happens, by owner, for the streams of the page.
        jobs: Long work.
        lan: How other devices reach this server.
        generations: Running replies.
        embeddings: Use cases of vectors and ranking.
        conversations: Use cases of the conversation tree.
        sharing: Use cases of what others may read of it.
        trash: Use cases of what was deleted of it.
        models: Use cases of model files and the loaded model.
        parameters: Use cases of a person's sampling parameters.
        server_prompt: Use cases of what the model is told in every conversation.
    """

    settings: Settings
    database: Database
    accounts: Accounts
    oidc: Oidc
    proxy_sign_in: ProxySignIn
    users: Users
    sign_ins: SignIns
    administration: Administration
    reading: Reading
    backups: Backups
    api_keys: ApiKeys
    passkeys: Passkeys
    groups: Groups
    defaults: Defaults
    quotas: Quotas
    usage: Usage
    pool: EnginePool
    catalog: Catalog
    events: EventLog
    jobs: Jobs
    lan: Lan
    generations: Generations
    embeddings: Embeddings
    conversations: Conversations
    sharing: Sharing
    trash: Trash
    models: Models
    parameters: Parameters
    server_prompt: ServerPrompt
