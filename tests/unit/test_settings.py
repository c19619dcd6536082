"""Defaults < settings file < environment < flags, and words for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from webui import settings as settings_module
from webui.errors import InvalidRequest
from webui.settings import Settings, load


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"WEBUI_{name}".upper(), raising=False)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_load_without_anything_serves_this_machine_only() -> None:
    loaded = load({})
    assert (loaded.host, loaded.port, loaded.listen) == ("127.0.0.1", 7860, False)


def test_sources_override_each_other_in_order(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "settings.toml").write_text('port = 1\nhost = "::1"\nlog_level = "debug"\n')
    monkeypatch.setenv("WEBUI_PORT", "2")
    monkeypatch.setenv("WEBUI_LOG_LEVEL", "error")
    loaded = load({"data_dir": data_dir, "log_level": "warning"})
    assert (loaded.host, loaded.port, loaded.log_level) == ("::1", 2, "warning")


def test_file_is_that_of_the_folder_which_the_environment_names(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "settings.toml").write_text("browser = false\n")
    monkeypatch.setenv("WEBUI_DATA_DIR", str(data_dir))
    assert load({}).browser is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "prot"),
        ("port = 70000", "port"),
        ("port = ", "settings.toml is not valid TOML"),
        ("log_level = 'loud'", "must be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("starter = 5.5", "must be true or false or a path, not 5.5"),
        ("fake_engine = nan", "fake_engine"),
        ("build = 'opencl'", "build"),
        ("data_dir = '/x'", "data_dir cannot stand in"),
    ],
)
def test_wrong_file_is_refused_naming_what_is_wrong(data_dir: Path, text: str, words: str) -> None:
    (data_dir / "settings.toml").write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        load({"data_dir": data_dir})
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("flag", "variable", "line", "said"),
    [
        (70000, "x", "port = true", "--port must be at most 65535, not 70000"),
        (None, "many", "port = true", "WEBUI_PORT must be a whole number, not 'many'"),
        (None, "", "port = -1", "port in {file} must be at least 0, not -1"),
    ],
)
def test_wrong_value_is_named_by_where_it_came_from(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, flag, variable, line, said
) -> None:
    file = data_dir / "settings.toml"
    file.write_text(line)
    monkeypatch.setenv("WEBUI_PORT", variable)
    with pytest.raises(InvalidRequest) as caught:
        load({"data_dir": data_dir} | ({"port": flag} if flag else {}))
    assert caught.value.message == said.format(file=file)
    assert caught.value.field == "port"
    assert caught.value.hint == (
        "Port to listen on; 0 takes a free one. Allowed: at least 0 and at most 65535."
    )


def test_unknown_setting_is_told_what_may_be_meant(data_dir: Path) -> None:
    (data_dir / "settings.toml").write_text("prot = 1")
    with pytest.raises(InvalidRequest) as caught:
        load({"data_dir": data_dir})
    assert caught.value.message == f"prot in {data_dir / 'settings.toml'} is no setting"
    assert caught.value.hint == "Is 'port' meant?"


def test_empty_variable_is_none(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data_dir / "settings.toml").write_text("port = 1")
    monkeypatch.setenv("WEBUI_PORT", "")
    assert load({"data_dir": data_dir}).port == 1


def test_file_that_is_not_utf8_is_refused(data_dir: Path) -> None:
    (data_dir / "settings.toml").write_bytes(b'host = "\xff"')
    with pytest.raises(InvalidRequest, match=r"settings\.toml"):
        load({"data_dir": data_dir})


@pytest.mark.parametrize(
    ("given", "meant"),
    [("true", True), ("1", True), ("false", False), ("/m/x.gguf", Path("/m/x.gguf"))],
)
def test_starter_of_the_environment_is_a_switch_or_a_path(
    monkeypatch: pytest.MonkeyPatch, given: str, meant: object
) -> None:
    monkeypatch.setenv("WEBUI_STARTER", given)
    assert load({}).starter == meant


def test_models_lie_in_the_checkout_or_else_in_the_data_folder(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Path(__file__).resolve().parents[2]
    assert load({"data_dir": data_dir}).models_dir == checkout / "models"
    monkeypatch.setattr(settings_module, "CHECKOUT", tmp_path)
    assert load({"data_dir": data_dir}).models_dir == data_dir / "models"
    assert load({"data_dir": data_dir, "models_dir": Path("/m")}).models_dir == Path("/m")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = load({"data_dir": "~/d", "models_dir": "~/m"})
    assert (loaded.data_dir, loaded.models_dir) == (tmp_path / "d", tmp_path / "m")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("allowed_hosts", "Chat.example.org, b", ("chat.example.org", "b")),
        ("trusted_proxy", "127.0.0.1,10.1.2.3/8", ("127.0.0.1/32", "10.0.0.0/8")),
        ("root_path", "/a/b.c/", "/a/b.c"),
        ("root_path", "/", ""),
    ],
)
def test_variable_of_the_network_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, kept: object
) -> None:
    monkeypatch.setenv(f"WEBUI_{name.upper()}", value)
    assert getattr(load({}), name) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", ["http://a"]),
        ("allowed_hosts", ["a:80"]),
        ("allowed_hosts", ["*"]),
        ("allowed_hosts", [""]),
        ("allowed_hosts", ["a..b"]),
        ("trusted_proxy", ["proxy.example"]),
        ("trusted_proxy", ["10.0.0.0/99"]),
        ("root_path", "a"),
        ("root_path", "/a//b"),
        ("root_path", "/../a"),
        ("root_path", '/a"b'),
        ("root_path", "//evil.example"),
    ],
)
def test_value_of_the_network_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load({name: value})
    assert caught.value.message.startswith(f"--{name.replace('_', '-')} is refused: must be a")


def test_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"key\.pem is given without") as caught:
        load({"tls_key": tmp_path / "key.pem"})
    assert caught.value.field == "tls_key"
    loaded = load({"tls_key": Path("~/key.pem"), "tls_cert": Path("cert.pem")})
    assert loaded.tls_key == Path("~/key.pem").expanduser()
    assert loaded.tls_cert is not None
    assert loaded.tls_cert.is_absolute()


PROVIDER = {"oidc_issuer": "https://login.example.org", "oidc_client_id": "x"}
HEADER = {"trusted_user_header": "Remote-User", "trusted_proxy": ("10.0.0.5",)}


@pytest.mark.parametrize(
    "flags",
    [
        PROVIDER,
        PROVIDER | {"oidc_issuer": "https://login.example.org/realms/home/"},
        PROVIDER | {"oidc_issuer": "http://127.0.0.1:9000"},
        PROVIDER | {"oidc_issuer": "http://[::1]:9000/x"},
        PROVIDER | {"oidc_email_domains": ("example.org",), "oidc_scopes": "openid email"},
        HEADER,
        HEADER | {"trusted_user_auto_create": True} | PROVIDER,
    ],
)
def test_ways_in_that_are_whole_are_taken(data_dir: Path, flags) -> None:
    loaded = load({"data_dir": data_dir, **flags})
    assert loaded.oidc_issuer == flags.get("oidc_issuer")
    assert loaded.trusted_user_header == flags.get("trusted_user_header")


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"oidc_issuer": "https://login.example.org"}, "oidc_client_id"),
        ({"oidc_client_id": "x"}, "oidc_issuer"),
        ({"oidc_client_secret_file": Path("x")}, "oidc_issuer"),
        ({"oidc_auto_create": True}, "oidc_issuer"),
        (PROVIDER | {"oidc_email_domains": ("example.org",)}, "oidc_scopes"),
        (PROVIDER | {"oidc_scopes": "profile email"}, "oidc_scopes"),
        (PROVIDER | {"oidc_scopes": "openid  email"}, "oidc_scopes"),
        *(
            (PROVIDER | {"oidc_issuer": issuer}, "oidc_issuer")
            for issuer in (
                *("http://login.example.org", "http://10.0.0.1", "login.example.org", "https://"),
                *("https://a@login.example.org", "https://login.example.org?x", "https://x#y"),
                *("https://login.example.org:x", "https://[x", "javascript:alert(1)", "https://ü"),
            )
        ),
        ({"trusted_user_header": "Remote-User"}, "trusted_proxy"),
        (HEADER | {"trusted_proxy": ("10.0.0.5", "0.0.0.0/0")}, "trusted_proxy"),
        (HEADER | {"trusted_proxy": ("::/0",)}, "trusted_proxy"),
        ({"trusted_user_auto_create": True}, "trusted_user_header"),
        (HEADER | PROVIDER | {"oidc_auto_create": True}, "oidc_auto_create"),
        *(
            (HEADER | {"trusted_user_header": name}, "trusted_user_header")
            for name in (
                *("Cookie", "host", "Authorization", "X-Forwarded-User", "Content-Type"),
                *("Sec-User", "X-Api-Key", "Remote User", "", "Remote_User", "Origin"),
            )
        ),
    ],
)
def test_ways_in_that_are_not_are_refused(data_dir: Path, flags, field) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load({"data_dir": data_dir, **flags})
    assert caught.value.field == field
    assert caught.value.hint
