from pathlib import Path

import pytest

from app.config import SETTINGS, Config, ConfigError


def load(**settings: str) -> Config:
    return Config.load({"FREEHOLD_HOME": "/srv/freehold", **settings})


def test_every_setting_has_a_default_that_is_good_and_a_reason():
    assert Config.load({}).port == 8000
    assert all(setting.reason.endswith(".") for setting in SETTINGS)


def test_the_master_key_lies_beside_the_registry_unless_told_otherwise():
    assert load().master_key_file == Path("/srv/freehold/instance/master.key")
    assert load(FREEHOLD_MASTER_KEY_FILE="/run/key").master_key_file == Path("/run/key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("PORT", "0"),
        ("FREEHOLD_WEB_WORKERS", "0"),
        ("FREEHOLD_WEB_WORKERS", "two"),
        ("FREEHOLD_MAX_OPEN_TENANTS", "1"),
        ("FREEHOLD_PAGE_CACHE_BYTES", "-1"),
        ("FREEHOLD_PLATFORM_HOST", ""),
        ("FREEHOLD_PLATFORM_HOST", "https://console.example.org"),
        ("FREEHOLD_BASE_DOMAIN", "a/b"),
        ("FREEHOLD_REDIS_URL", "localhost:6379"),
        ("FREEHOLD_SMTP_URL", "mail.example.org"),
        ("FREEHOLD_SECURE", "maybe"),
        ("FREEHOLD_LOG_LEVEL", "loud"),
        ("FREEHOLD_MASTER_KEY_FILE", "/srv/freehold/tenants_data/key"),
    ],
)
def test_a_bad_value_stops_the_start_and_is_named(name: str, value: str):
    with pytest.raises(ConfigError, match=name):
        load(**{name: value})


def test_addresses_say_what_a_browser_would():
    assert load().address("acme.localhost") == "http://acme.localhost:8000"
    assert load(PORT="80").address("acme.example") == "http://acme.example"
    assert load(FREEHOLD_SECURE="yes").address("acme.example") == "https://acme.example"


def test_config_is_printed_with_names_values_and_reasons(runner, monkeypatch):
    monkeypatch.setenv("PORT", "8123")
    printed = runner("config").stdout
    assert "PORT=8123" in printed
    for setting in SETTINGS:
        assert f"{setting.name}=" in printed
        assert setting.reason in printed


def test_a_bad_value_ends_a_command_with_exit_code_2_and_no_trace(runner, monkeypatch):
    monkeypatch.setenv("PORT", "http")
    result = runner("config")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: PORT='http' cannot be used")
    assert "Traceback" not in result.output
