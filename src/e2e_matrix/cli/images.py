"""``e2e-matrix images``."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import click

from e2e_matrix.cache import cache_folder
from e2e_matrix.local import contract, images, push
from e2e_matrix.local.registry_server import LocalRegistry


@click.group()
def command() -> None:
    """Build images like the published ones, of parts that package registries have."""


@command.command()
@click.option(
    "--base",
    type=click.Choice(images.BASES),
    default="debian",
    show_default=True,
    help="Lay the server on Debian packages, or on the images that upstream builds on.",
)
@click.option("--server-version", help="A release of openhands-agent-server; by default the locked one.")
@click.option("--variant", "variants", multiple=True, help="Only this variant (repeatable).")
@click.option("--arch", "arches", multiple=True, help="Only this architecture, amd64 or arm64 (repeatable).")
@click.option("--registry", help="Push to this host instead of the local registry's storage.")
@click.option("--repository", help="Push under this name instead of upstream's.")
@click.option("--contract-server", is_flag=True, help="Only the contract server, for tests of the runner.")
def build(
    base: str,
    server_version: str | None,
    variants: tuple[str, ...],
    arches: tuple[str, ...],
    registry: str | None,
    repository: str | None,
    contract_server: bool,
) -> None:
    """Build what is not in the cache, and push it."""
    if contract_server:
        _build_contract_server(registry)
        return
    result = images.build(variants or None, arches or None, server_version, base, click.echo)
    if not result.built:
        click.echo("everything is in the cache: nothing built")
    with nullcontext() if registry else LocalRegistry(say=click.echo) as local:
        host = registry or (local.host if local else "")
        published = push.publish(result, host, click.echo, repository=repository)
        for variant in result.indexes:
            click.echo(published.reference(variant))
    if not registry:
        click.echo("`e2e-matrix images serve` serves them.")


def _build_contract_server(registry: str | None) -> None:
    with nullcontext() if registry else LocalRegistry(say=click.echo) as local:
        published = contract.publish(registry or (local.host if local else ""), click.echo)
    click.echo(f"e2e-matrix run --image '{published.template}' --ref {published.ref}")


@command.command()
def serve() -> None:
    """Run the local registry with what was built, until Ctrl-C."""
    with LocalRegistry(say=click.echo) as registry:
        click.echo(f"serving at {registry.host}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            registry.wait()


@command.command("list")
def list_images() -> None:
    """Show the local images that are built, without building any."""
    result = images.cached()
    for image in result.images:
        click.echo(
            f"{result.sha[:7]}-{image.variant}-{image.arch}  {image.size_bytes / 1e6:6.0f} MB  "
            f"server {result.server_version}  {image.manifest.digest}"
        )
    if not result.images:
        click.echo("none is built: `e2e-matrix images build`", err=True)
    click.echo(f"cache: {cache_folder()}", err=True)
