"""Images that an engine keeps: listing, removing, importing.

API: GET /images/json, DELETE /images/{name}, POST /images/create with ``fromSrc``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from docker import APIClient
from docker.errors import NotFound

from e2e_matrix.engine.base import ImageSummary

_NO_NAME = "<none>"  # what the API calls a tag or a digest that is missing


def label_filter(labels: Mapping[str, str | None]) -> list[str]:
    """The API's filter for things that have all these labels."""
    return [name if value is None else f"{name}={value}" for name, value in labels.items()]


def summaries(client: APIClient, labels: Mapping[str, str | None]) -> list[ImageSummary]:
    """See ``engine.base.Engine.list_images``."""
    return [
        ImageSummary(
            id=one["Id"],
            references=tuple(
                name
                for name in (*(one.get("RepoTags") or ()), *(one.get("RepoDigests") or ()))
                if _NO_NAME not in name
            ),
            labels=dict(one.get("Labels") or {}),
        )
        for one in client.images(filters={"label": label_filter(labels)})
    ]


def remove(client: APIClient, reference: str) -> None:
    """See ``engine.base.Engine.remove_image``."""
    try:
        client.remove_image(reference)
    except NotFound:
        return


def load(client: APIClient, root: bytes, repository: str, tag: str, labels: Mapping[str, str]) -> str:
    """Import a tar of a root file system as an image with these labels; its id."""
    changes = [f"LABEL {json.dumps(name)}={json.dumps(value)}" for name, value in labels.items()]
    imported = client.import_image_from_data(root, repository=repository, tag=tag, changes=changes)
    return str(json.loads(imported)["status"])
