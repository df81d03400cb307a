"""The logins that ``docker login`` left on this machine, read by the Docker SDK's own code."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field

import docker.auth
from docker.credentials.constants import PROGRAM_PREFIX
from docker.errors import DockerException


@dataclass(frozen=True)
class Login:
    """What to prove oneself with: a password, or an identity token that stands for it. Never printed."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class Logins:
    """config.json, credsStore and credHelpers, read when the first registry asks for a login. Thread-safe.

    What cannot be read is not fatal, as with the docker command: the image may be public. ``problems`` keeps
    why, for the message of a refusal.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._config: docker.auth.AuthConfig | None = None
        self._lock = threading.Lock()

    def find(self, registry: str) -> Login | None:
        """The login for a host as Docker names it ("docker.io" for Docker Hub), None where there is none."""
        with self._lock:
            if self._config is None:
                self._config = self._load()
            return self._ask(self._config, registry)

    def _load(self) -> docker.auth.AuthConfig:
        try:
            return docker.auth.load_config()
        # The SDK lets the parse errors of a hand-edited file through as they are.
        except (DockerException, ValueError, TypeError, AttributeError, OSError) as error:
            self.problems.append(f"Docker's config.json cannot be read: {error}")
            return docker.auth.AuthConfig({})

    def _ask(self, config: docker.auth.AuthConfig, registry: str) -> Login | None:
        helper = config.get_credential_store(registry)
        if helper and shutil.which(PROGRAM_PREFIX + helper) is None:
            self.problems.append(f"the credential helper {PROGRAM_PREFIX}{helper} is not installed")
            config = docker.auth.AuthConfig({"auths": config.auths})
        try:
            found = docker.auth.resolve_authconfig(config, registry) or {}
        except (DockerException, ValueError, TypeError, KeyError) as error:
            self.problems.append(f"the credential helper {PROGRAM_PREFIX}{helper} failed: {error}")
            return None
        lower = {str(key).lower(): str(value) for key, value in found.items() if value}
        login = Login(lower.get("username", ""), lower.get("password", ""), lower.get("identitytoken", ""))
        return login if login.identity_token or login.username else None
