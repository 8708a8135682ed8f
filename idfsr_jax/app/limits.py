"""Where the page may be served and to whom, checked before anything is loaded."""

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path

from idfsr_jax.io.errors import InputError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LEAST_PASSWORD = 8


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_logins(file: Path) -> dict[str, str]:
    """Passwords by user, of a file with a line `user:password` for each user.

    Args:
      file: whose empty lines and lines that begin with # say nothing.

    Raises:
      InputError: it cannot be read, or a password has fewer than 8 letters.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{file}: cannot be read ({reason}); give --login-file lines of user:password.") from error
    logins = dict(_parse(line.strip(), file) for line in lines if line.strip() and not line.startswith("#"))
    if not logins:
        raise InputError(f"{file}: holds no login; write a line user:password for each user.")
    return logins


def require_login(host: str, logins: Mapping[str, str]) -> None:
    """Checks that a page that others can reach asks who they are.

    Raises:
      InputError: it would not.
    """
    if not is_loopback(host) and not logins:
        raise InputError(
            f"--host {host}: others could reach the page; say who may enter by --login-file FILE (lines of "
            "user:password), or serve it to this machine alone by --host 127.0.0.1."
        )


def is_login(logins: Mapping[str, str], user: str, password: str) -> bool:
    """Whether a password is the user's, in a time that does not tell how nearly."""
    expected = logins.get(user)
    given = hmac.compare_digest(password.encode(), (expected or "").encode())
    return expected is not None and given


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket that the page is served at.

    Args:
      host: an address or a name of this machine.
      port: 0 for any that is free.

    Raises:
      InputError: there is no such address here, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"--host {host} --port {port}: cannot be served ({reason}); choose another port or host."
        ) from error


def _parse(login: str, file: Path) -> tuple[str, str]:
    user, colon, password = login.partition(":")
    if not user or not colon:
        raise InputError(f"{file}: a login is user:password; write it so.")
    if len(password) < _LEAST_PASSWORD:
        raise InputError(
            f"{file}: the password of {user} has fewer than {_LEAST_PASSWORD} letters; choose a longer one."
        )
    return user, password
