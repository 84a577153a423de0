from __future__ import annotations

from pathlib import Path

import pytest

from tidenote.config import ServerConfig, SyncConfig, is_loopback, load_server_config, load_sync_config, unfit_proxy
from tidenote.errors import ConfigError


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "tidenote.toml"
    file.write_text('[server]\nport = 1\nhost = "::1"\nwrite_timeout_ms = 7\nmax_text_bytes = 11\n')
    environment = {"TIDENOTE_PORT": "2", "TIDENOTE_WRITE_TIMEOUT_MS": "8"}
    config = load_server_config({"port": 3, "host": None}, environment=environment, file=file)
    assert (config.port, config.write_timeout_ms, config.host, config.max_text_bytes) == (3, 8, "::1", 11)
    assert config.head_poll_ms == ServerConfig().head_poll_ms


def test_environment_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tidenote.toml"
    file.write_text('[sync]\ndevice_id = "laptop"\nenable_websocket = false\n')
    config = load_sync_config(environment={"TIDENOTE_CONFIG": str(file)})
    assert config == SyncConfig("laptop", enable_websocket=False)


def test_variables_are_strings_and_settings_are_not() -> None:
    environment = {"TIDENOTE_DEVICE_ID": "7", "TIDENOTE_ENABLE_WEBSOCKET": "false", "TIDENOTE_DATA_DIR": "/x"}
    assert load_sync_config(environment=environment) == SyncConfig("7", enable_websocket=False)
    assert load_server_config(environment=environment).data_dir == Path("/x")
    assert load_server_config({"tls_cert": "/c", "tls_key": Path("/k")}, environment={}).tls_cert == Path("/c")


def test_a_home_folder_is_expanded() -> None:
    assert load_server_config({"data_dir": "~/notes"}, environment={}).data_dir == Path.home() / "notes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1\n", "no setting prot"),
        ("[server]\nport = '1'\n", "[server] port"),
        ("[server\n", "not valid TOML"),
        ("server = 1\n", "not a table"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "tidenote.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_server_config(environment={}, file=file)
    assert says in caught.value.message
    assert str(file) in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        load_server_config(environment={}, file=tmp_path / "absent.toml")


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="TIDENOTE_PORT"):
        load_server_config(environment={"TIDENOTE_PORT": "many"})


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"no_auth": True, "host": "0.0.0.0"}, "--no-auth"),
        ({"no_auth": True, "host": "notes.example"}, "--no-auth"),
        ({"port": 65536}, "0..65535"),
        ({"port": -1}, "0..65535"),
        ({"tls_cert": "/c"}, "--tls-key"),
        ({"redis_url": "redis://localhost"}, "not yet supported"),
        ({"database_url": "postgresql://localhost/x"}, "not yet supported"),
        ({"max_frame_bytes": 0}, "max_frame_bytes"),
        ({"max_frame_bytes": 2**20}, "max_text_bytes 1048576 needs"),
        ({"max_push_changes": 500}, "make it 501 or more"),
        ({"max_text_bytes": 2**22}, "needs max_frame_bytes of at least 25427968"),
        ({"colour": "red"}, "no setting colour"),
    ],
)
def test_a_wrong_server_setting_is_refused_with_a_next_step(flags: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_server_config(flags, environment={})
    assert says in caught.value.message
    assert caught.value.code == "bad_config"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({}, "--device-id"),
        ({"device_id": "a b"}, "'a b'"),
        ({"device_id": "a" * 65}, "1 to 64"),
        ({"device_id": "server-1"}, "server"),
        ({"device_id": "a", "sync_endpoint": "http://127.0.0.1/ws/sync"}, "ws://"),
        ({"device_id": "a", "sync_endpoint": "ws://:8787"}, "ws://"),
        ({"device_id": "a", "sync_endpoint": "ws://h:99999/"}, "ws://"),
        ({"device_id": "a", "sync_interval_ms": 0}, "sync_interval_ms"),
        ({"device_id": "a", "vault": ""}, "vault"),
    ],
)
def test_a_wrong_sync_setting_is_refused_with_a_next_step(flags: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sync_config(flags, environment={})
    assert says in caught.value.message


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.example.org", "")))
    assert ServerConfig(no_auth=True, host="::1").is_loopback


def test_the_rest_address_follows_from_the_websocket_s() -> None:
    assert SyncConfig("a").http_endpoint == "http://127.0.0.1:8787"
    assert SyncConfig("a", "wss://h.example/notes/ws/sync").http_endpoint == "https://h.example/notes"


def test_a_token_is_not_shown() -> None:
    assert "hush" not in repr(SyncConfig("a", token="hush"))


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"http_proxy": "http://a:1", "HTTPS_PROXY": "a:1", "all_proxy": "socks5://a:1"}, "all_proxy"),
        ({"ALL_PROXY": "ftp://a", "all_proxy": "ftp://a", "no_proxy": "b"}, "ALL_PROXY and all_proxy"),
        ({"HTTP_PROXY": "http://a:x"}, "HTTP_PROXY"),
        ({"TRAVIS_APT_PROXY": "ftp://a", "ALL_PROXY": ""}, "the system"),
    ],
)
def test_a_proxy_of_no_use_is_told_by_its_variable(environment: dict[str, str], named: str) -> None:
    assert unfit_proxy(environment).message.startswith(f"{named} names a proxy")
