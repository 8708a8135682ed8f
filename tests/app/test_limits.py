"""Who may be let in, and what is refused before anything is loaded."""

import socket

import pytest

from idfsr_jax import cli
from idfsr_jax.app.limits import is_login, is_loopback, listen, read_logins, require_login
from idfsr_jax.io.errors import InputError


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.0.0.9", True)]
    + [("0.0.0.0", False), ("::", False), ("192.168.0.7", False), ("example.org", False), ("", False)],
)
def test_what_is_reached_from_this_machine_only(host: str, expected: bool):
    assert is_loopback(host) is expected


def test_other_addresses_need_a_login():
    require_login("127.0.0.1", {})
    require_login("0.0.0.0", {"anna": "a long password"})
    with pytest.raises(InputError, match=r"--host 0\.0\.0\.0: others could reach the page; .*--login-file"):
        require_login("0.0.0.0", {})


def test_logins_are_read_from_a_file(tmp_path):
    file = tmp_path / "logins"
    file.write_text("# who may enter\nanna:eight letters\n\nbert:with:a colon\n")
    assert read_logins(file) == {"anna": "eight letters", "bert": "with:a colon"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no login"),
        ("anna", "user:password"),
        (":password1", "user:password"),
        ("anna:short", "fewer than 8"),
    ],
)
def test_bad_logins_are_named(tmp_path, text: str, said: str):
    file = tmp_path / "logins"
    file.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_logins(file)
    assert "short" not in str(caught.value) and str(file) in str(caught.value)


def test_only_the_right_password_enters():
    logins = {"anna": "a long password", "böb": "pässword"}
    assert is_login(logins, "anna", "a long password") and is_login(logins, "böb", "pässword")
    assert not is_login(logins, "anna", "a long passwore") and not is_login(logins, "carl", "")


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: cannot be served \(.*in use"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", 0) as free:
        assert free.getsockname()[1] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "--port 70000"),
        (["--queue", "0"], "--queue 0"),
        (["--max-upload-mb", "0"], "--max-upload-mb 0"),
        (["--host", "0.0.0.0", "--login-file", "nowhere"], "cannot be read"),
        (["--weights", "nowhere", "--port", "0"], "nowhere"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, said, gradio, capsys):
    assert cli.main(["app", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.startswith("idfsr: ") and captured.err.count("\n") == 1


def test_without_gradio_the_command_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["app"]) == 2
    assert "pip install" in capsys.readouterr().err
