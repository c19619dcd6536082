"""Stand-ins for what lives behind the routes: they remember calls and give set answers."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from webui.accounts.accounts import SignedIn
from webui.accounts.api_keys import MadeKey
from webui.accounts.identity import Identity, Source
from webui.accounts.known_keys import invalid_key
from webui.accounts.limits import Limits
from webui.accounts.oidc import Finished
from webui.accounts.views import (
    ApiKeyCard,
    ApiKeyView,
    ConfirmationView,
    DefaultsView,
    EverybodysSessionView,
    GroupView,
    LimitSource,
    LimitView,
    LinkView,
    SignedInView,
    StoredView,
    UsageRowView,
    UserLimitsView,
    UserView,
)
from webui.actor import local_actor
from webui.administration.administration import (
    BackupView,
    RunningView,
    ServerView,
    StorageView,
)
from webui.chat.embeddings import Ranked, Ranking
from webui.chat.event_log import EventLog
from webui.chat.shared_views import (
    ChoicesView,
    GroupCard,
    PersonView,
    ReceivedView,
    SharedMessageView,
    SharedTranscript,
    ShareView,
)
from webui.chat.views import (
    ConversationView,
    DeletedView,
    GenerationView,
    JobView,
    MessageView,
    ModelList,
    ModelStatus,
    Page,
    StarterView,
    Transcript,
    TrashView,
    Turn,
)
from webui.engine.interface import EmbedResult, Finish, FinishReason, Text, Timings, Usage
from webui.engine.stats import EngineStats
from webui.errors import NotFound, WebuiError
from webui.jobs import Job
from webui.network.addresses import Addresses, Interface
from webui.network.lan import Lan
from webui.sampling_params import SamplingParams
from webui.settings import Settings
from webui.storage.tables import JobStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from webui.accounts.identity import Sender

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CONVERSATION = ConversationView(
    id="c1",
    title="Hello",
    active_leaf_id="m1",
    version=1,
    created_at=NOW,
    updated_at=NOW,
    running=False,
)
DELETED = DeletedView(id="c1", title="Hello", deleted_at=NOW, ends_at=NOW + timedelta(days=30))
MESSAGE = MessageView(
    id="m1",
    parent_id=None,
    role="user",
    text="Hi 🙂",
    reasoning="",
    status="complete",
    model=None,
    created_at=NOW,
)
TURN = Turn([MESSAGE], CONVERSATION, GenerationView("g1", "m2"), "boot:1")
STATUS = ModelStatus(state="ready", model_id="tiny.gguf", name="Tiny")
JOB_ROW = Job(
    id="j1",
    owner_id="local",
    kind="starter",
    title="Starter",
    status=JobStatus.RUNNING,
    done=0,
    total=None,
    unit="bytes",
    message="",
    error=None,
    created_at=NOW,
    finished_at=None,
)
JOB = JobView(
    id="j1",
    kind="starter",
    title="Starter",
    status="running",
    done=0,
    total=None,
    unit="bytes",
    message="",
    error=None,
)
STATS = EngineStats(
    num_steps=7,
    num_reply_tokens=5,
    num_ram_tokens=3,
    num_shared_tokens=2,
    num_failed=1,
    prefill_s=0.25,
    num_running=2,
    waiting=(1, 0, 4),
    writing_steps=(0, 1, 2, *[0] * 9, 4),
    writing_s=9.5,
    decode_threads=1,
)
USER = UserView(
    id="u1",
    name="Ann",
    role="user",
    permissions=["chat"],
    has_own_permissions=False,
    has_password=True,
    linked_to=["https://login.example.org"],
    must_change_password=False,
    is_disabled=False,
    created_at=NOW,
)
SERVER = ServerView(
    version="1",
    python="3",
    system="Linux",
    started_at=NOW,
    data_dir="/data",
    num_users=1,
    banner="",
    running=[
        RunningView("Ann", is_api=False, doing="writing", num_tokens=3, since_s=1.5, task="reply")
    ],
    storage=StorageView(1, 2, 3, 4, 5),
    backups=[BackupView("x.db", "manual", NOW, 9)],
)
KEY = "hs-abcd2345-" + "k" * 43
KEY_VIEW = ApiKeyView(
    id="k1",
    name="Editor",
    prefix=KEY[:11],
    endpoints=["chat"],
    models=None,
    created_at=NOW,
    last_used_at=None,
    expires_at=None,
    is_expired=False,
)
KEY_CARD = ApiKeyCard(
    id="k1",
    name="Editor",
    prefix=KEY[:11],
    owner_id="u1",
    owner="Bob",
    last_used_at=None,
    expires_at=None,
)
SIGN_IN = EverybodysSessionView(
    id="s1",
    device="Firefox, Linux",
    address="192.0.2.1",
    way="passkey",
    created_at=NOW,
    last_used_at=NOW,
    expires_at=NOW,
    is_current=True,
    user_id="u1",
    user="Ann",
)
GROUP = GroupView(
    id="g1",
    name="Children",
    permissions=["chat"],
    limits={"tokens_per_day": 9},
    member_ids=["u1"],
)
USER_LIMITS = UserLimitsView(
    user_id="u1",
    limits={},
    inherited={"tokens_per_day": 5},
    effective={"tokens_per_day": 5},
    sources={"tokens_per_day": LimitSource("group", "Children")},
)
DEFAULTS = DefaultsView(role="guest", permissions=["chat"], is_changed=True)
USAGE = UsageRowView(
    user_id="u1",
    user="Ann",
    day=NOW.date(),
    model="Tiny",
    requests=2,
    prompt_tokens=30,
    completion_tokens=4,
    cached_tokens=10,
    counted_tokens=24,
)
LIMIT = LimitView(name="tokens_per_day", limit=50, used=24, remaining=26, resets_at=NOW)
SHARE = ShareView(
    id="s1",
    conversation_id="c1",
    title="Hello",
    audience="person",
    name="Bob",
    num_people=1,
    is_live=False,
    num_messages=2,
    created_at=NOW,
    expires_at=None,
    is_expired=False,
)
CHOICES = ChoicesView(
    title="Hello",
    leaf_id="m1",
    num_messages=2,
    people=[PersonView("u1", "Bob")],
    groups=[GroupCard("g1", "Children", 1)],
    num_everybody=1,
    shares=[SHARE],
)
RECEIVED = ReceivedView(
    id="s1",
    owner="Bob",
    title="Hello",
    is_live=False,
    created_at=NOW,
    updated_at=NOW,
    expires_at=None,
)
SHARED = SharedMessageView(
    id="m1",
    role="user",
    text="Hi",
    reasoning="",
    status="complete",
    model=None,
    created_at=NOW,
)
SIGNED_IN = SignedIn("t" * 43, USER)
VECTOR = struct.pack("<2f", 0.5, -0.25)
FINISH = Finish(FinishReason.STOP, Usage(5, 2, 3), Timings(0.0, 0.1, 0.2))


LINK = LinkView(name="Login", linked_at=None, last_used_at=None, has_password=True)
CONFIRMATION = ConfirmationView(by=["provider"], is_confirmed=True)


class Recorder:
    """Answers any method with a set value and remembers the call; raises `error` if set."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in self.answers:
            raise AttributeError(name)

        async def method(*args: Any, **named: Any) -> Any:
            given = {key: value for key, value in named.items() if value}
            self.calls.append((name, *args[1:], given) if given else (name, *args[1:]))
            if self.error is not None:
                raise self.error
            return self.answers[name]

        return method


@dataclass
class FakeGenerations:
    """Completes with a script: deltas, errors to raise, events to wait for."""

    script: list[Any] = field(default_factory=lambda: [Text("Hel", 1), Text("lo", 1), FINISH])
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    is_begun: asyncio.Event = field(default_factory=asyncio.Event)
    is_closed: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: list[str] = field(default_factory=list)
    admissions: list[Any] = field(default_factory=list)

    async def complete(
        self, actor: Any, messages: Any, params: Any, *, admission: Any, **more: Any
    ) -> AsyncGenerator[Any, None]:
        self.asked.append((messages, params, more))
        self.admissions.append(admission)
        self.is_begun.set()
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.is_closed.set()

    async def follow(self, actor: Any, after: str | None) -> AsyncGenerator[Any, None]:
        yield []
        await asyncio.Event().wait()

    async def stop(self, actor: Any, generation_id: str) -> None:
        if generation_id != "g1":
            raise NotFound("There is no such running reply")
        self.stopped.append(generation_id)


def fake_runtime(host: str = "127.0.0.1") -> Any:
    """Return what has the shape of a `Runtime`."""
    settings = Settings(host=host)
    return SimpleNamespace(
        settings=settings,
        lan=fake_lan(settings),
        events=EventLog(pace_s=0),
        accounts=FakeAccounts(),
        oidc=FakeOidc(),
        proxy_sign_in=Recorder(sign_in=SIGNED_IN),
        passkeys=Recorder(begin_confirmation={"challenge": "AA"}, confirm=SIGNED_IN),
        administration=FakeAdministration(),
        reading=FakeReading(),
        users=Recorder(
            list=[USER],
            list_audit=[],
            add=(USER, "made-up"),
            change=USER,
            reset_password="made-up",
            delete=None,
        ),
        sign_ins=Recorder(
            list=SignedInView(sessions=[SIGN_IN], keys=[KEY_CARD]), end=None, end_all=None
        ),
        api_keys=Recorder(
            list=[KEY_VIEW],
            make=MadeKey(KEY, KEY_VIEW),
            delete=None,
            list_of=[KEY_CARD],
            delete_of=None,
        ),
        conversations=Recorder(
            list=Page([CONVERSATION], None),
            create=CONVERSATION,
            get=Transcript(CONVERSATION, [MESSAGE], None, "boot:1"),
            rename=CONVERSATION,
            set_active_leaf=CONVERSATION,
            set_context_overflow=CONVERSATION,
            delete=None,
            restore=CONVERSATION,
            send=TURN,
            retry=TURN,
            continue_reply=TURN,
            edit=Turn([MESSAGE], CONVERSATION, None, "boot:2"),
        ),
        trash=Recorder(get=TrashView([DELETED], 1), delete=None, empty=3),
        sharing=Recorder(
            choices=CHOICES,
            share=[SHARE],
            list=[SHARE],
            revoke=None,
            list_received=[RECEIVED],
            get_received=SharedTranscript(RECEIVED, [SHARED], "v1"),
            copy=CONVERSATION,
        ),
        quotas=SimpleNamespace(admission=lambda _, num_requests: num_requests),
        groups=Recorder(
            list=[GROUP],
            add=GROUP,
            change=GROUP,
            delete=None,
            limits_of=USER_LIMITS,
            set_limits_of=USER_LIMITS,
            default_limits=Limits(tokens_per_day=5),
            set_default_limits=Limits(tokens_per_day=None),
            list_limits=[USER_LIMITS],
        ),
        defaults=Recorder(get=DEFAULTS, set=DEFAULTS),
        usage=Recorder(
            list=[USAGE],
            list_all=[USAGE],
            limits=[LIMIT],
            list_stored=[StoredView(user_id="u1", user="Ann", text_bytes=7)],
        ),
        generations=FakeGenerations(),
        embeddings=Recorder(
            embed=EmbedResult(vectors=(VECTOR, VECTOR[::-1]), num_tokens=9),
            rank=Ranking((Ranked(1, 2.5), Ranked(0, -1.0)), 12),
        ),
        models=FakeModels(),
        parameters=FakeParameters(get=SamplingParams(), reset=SamplingParams()),
        server_prompt=FakeServerPrompt(set="Be kind."),
        jobs=Recorder(list=[JOB_ROW], cancel=None),
        pool=SimpleNamespace(
            status=STATUS,
            current=SimpleNamespace(
                info=SimpleNamespace(name="Tiny", num_slots=4, can_generate=True)
            ),
            current_id=STATUS.model_id,
            num_waiting=0,
        ),
        catalog=FakeCatalog(),
    )


def fake_lan(settings: Settings, *addresses: str) -> Lan:
    """Return the network of a machine named `desk` that has these addresses."""
    found = [Interface("eth0", ipaddress.ip_address(one)) for one in addresses]
    return Lan(settings, addresses=Addresses(lambda: found), host_name="desk")


class FakeSessions:
    """Knows every token, unless told otherwise."""

    def __init__(self) -> None:
        self.knows_all = True

    def is_known(self, token: str) -> bool:
        return self.knows_all


class FakeAccounts(Recorder):
    """Lets everybody in as the local user, unless told otherwise; remembers the calls."""

    def __init__(self) -> None:
        super().__init__(
            claim=SIGNED_IN,
            sign_in=SIGNED_IN,
            sign_out=None,
            get=USER,
            list_sessions=[],
            end_session=None,
            sign_out_everywhere=None,
            change_password=SIGNED_IN,
            delete=None,
        )
        self.is_claimed = False
        self.identity: Identity | None = Identity(actor=local_actor(), source=Source.LOCAL)
        self.shown: list[tuple[Any, ...]] = []
        self.keys = FakeKeys()
        self.sessions = FakeSessions()
        self.confirmation = Recorder(look=CONFIRMATION)

    async def identify(self, token: str | None, sender: Sender, *, is_local: bool) -> Any:
        self.shown.append((token, sender, is_local))
        return self.identity


class FakeOidc(Recorder):
    """Sends everybody to a provider, and lets in who comes back."""

    name: str | None = None

    def __init__(self) -> None:
        super().__init__(
            begin=("https://login.example.org/authorize", "word"),
            begin_link=("https://login.example.org/authorize", "word"),
            begin_confirmation=("https://login.example.org/authorize", "word"),
            finish=Finished(SIGNED_IN, "/c/abc"),
            get_link=LINK,
            unlink=None,
        )


class FakeAdministration(Recorder):
    """Answers with as little as there can be."""

    banner = "Down at noon"

    def __init__(self) -> None:
        super().__init__(look=SERVER, back_up=SERVER.backups[0], set_banner="Hi")

    def log(self, actor: Any, num_lines: int) -> list[str]:
        return ["a line"] * min(num_lines, 2)


class FakeServerPrompt(Recorder):
    """Has a text already."""

    text = "Be brief."


class FakeReading(Recorder):
    """Lets administrators read."""

    is_on = False

    def __init__(self) -> None:
        super().__init__(
            switch=None,
            list=Page([CONVERSATION], None),
            get=Transcript(CONVERSATION, [MESSAGE], None, "boot:1"),
        )


class FakeKeys:
    """Knows one key, if it was told whose it is; remembers what was shown."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.shown: list[str] = []

    async def identify(self, key: str, sender: Sender) -> Identity:
        self.shown.append(key)
        if self.identity is None or key != KEY:
            raise invalid_key()
        return self.identity


class FakeParameters(Recorder):
    """Answers with what was saved."""

    async def save(self, actor: Any, params: SamplingParams) -> SamplingParams:
        self.calls.append(("save", params))
        return params

    async def update(
        self, actor: Any, change: Callable[[SamplingParams], SamplingParams]
    ) -> SamplingParams:
        return change(SamplingParams(seed=7))


class FakeCatalog:
    """Knows one file, if it was told where."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def get_at(self, wanted: str) -> Any:
        if self.path is None or wanted != STATUS.model_id:
            raise NotFound("There is no such model")
        return SimpleNamespace(path=self.path)


class FakeModels(Recorder):
    """Use cases of models, and the status that `/health` shows."""

    def __init__(self) -> None:
        super().__init__(
            list=ModelList([], STATUS, StarterView(available=True, size_bytes=93_000_000)),
            load=STATUS,
            cancel=STATUS,
            unload=STATUS,
            starter=JOB,
        )
        self.status = STATUS
        self.latest: EngineStats | None = STATS

    def stats(self, actor: Any) -> EngineStats | None:
        return self.latest

    def set_lora(self, actor: Any, chosen: Any) -> ModelStatus:
        self.calls.append(("set_lora", chosen))
        return STATUS


class BugError(Exception):
    """What nobody thought of."""


def all_errors() -> list[type[WebuiError]]:
    """Return every error class of the ground and of the HTTP face."""
    found, left = [], [WebuiError]
    while left:
        kind = left.pop()
        if kind.__module__ in {"webui.errors", "webui.api.errors"}:
            found.append(kind)
        left.extend(kind.__subclasses__())
    return found
