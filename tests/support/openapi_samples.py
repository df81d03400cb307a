"""Small API descriptions, written for the tests that compare them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def a_document(paths: Json | None = None, schemas: Json | None = None, **more: Any) -> Json:
    """A description with these paths and components."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": "1"},
        "paths": paths or {},
        "components": {"schemas": schemas or {}},
    } | more


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def json_of(schema: object) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


def answering(schema: object, **more: Any) -> Json:
    """An operation whose answer holds the schema."""
    return {"responses": {"200": json_of(schema)}} | more


def asking(schema: object, **more: Any) -> Json:
    """An operation whose request holds the schema."""
    return {"requestBody": json_of(schema) | {"required": True}, "responses": {"204": {}}} | more


def an_object(*required: str, **properties: Any) -> Json:
    """An object with these fields, of which ``required`` always stand there."""
    return {"type": "object", "properties": properties} | ({"required": [*required]} if required else {})


def sent(schema: object, schemas: Json | None = None) -> Json:
    """A document in which a client sends the schema."""
    return a_document({"/things": {"post": asking(schema)}}, schemas)


def received(schema: object, schemas: Json | None = None) -> Json:
    """A document in which a client is sent the schema."""
    return a_document({"/things": {"get": answering(schema)}}, schemas)
