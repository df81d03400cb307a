"""The images of the demo: built here, served from a registry here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2e_matrix.local import images, push
from e2e_matrix.local.registry_server import LocalRegistry
from e2e_matrix.settings import Overrides, Setting, Source


@dataclass(frozen=True)
class Served:
    """Images behind a registry. ``template`` and ``ref`` are what matrix.yaml calls image and ref."""

    host: str
    repository: str  # with the host
    ref: str
    result: images.BuildResult

    @property
    def template(self) -> str:
        return f"{self.repository}:{{ref}}-{{variant}}"

    def overrides(self) -> Overrides:
        """What makes a run test these images, whatever the file says."""
        return Overrides(
            ref=Setting(self.ref, Source.DEFAULT),
            image=Setting(self.template, Source.DEFAULT),
            base_url=Setting(None, Source.DEFAULT),
        )


@contextmanager
def served(say: Callable[[str], None]) -> Iterator[Served]:
    """Build what is not built yet and serve it for as long as the block runs.

    Raises ``InfrastructureError`` where packages cannot be had, or nothing can serve the images.
    """
    result = images.build(say=say)
    if not result.built:
        say(f"six images of server {result.server_version} are in the cache: nothing built")
    with LocalRegistry(say=say) as registry:
        published = push.publish(result, registry.host, say)
        yield Served(registry.host, published.repository, published.sha[:7], result)
