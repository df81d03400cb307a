"""The gated routes of server 1.58.0, as its /openapi.json lists them, and how a path finds its route."""

from __future__ import annotations

import re
from typing import Any

INIT = "/api/init"

_GATED = """
POST /api/acp/models
GET /api/agent-profiles
GET,POST,DELETE /api/agent-profiles/{name}
POST /api/agent-profiles/{name}/materialize
POST /api/agent-profiles/{name}/rename
POST /api/agent-profiles/{profile_id}/activate
POST,DELETE /api/auth/workspace-session
POST /api/bash/bash_commands/{command_id}/stop
DELETE /api/bash/bash_events
GET /api/bash/bash_events/
GET /api/bash/bash_events/search
GET /api/bash/bash_events/{event_id}
POST /api/bash/execute_bash_command
POST /api/bash/start_bash_command
POST /api/canvas-extensions/install
GET /api/canvas-extensions/installed
GET,PATCH,DELETE /api/canvas-extensions/installed/{extension_name}
GET /api/canvas-extensions/installed/{extension_name}/backend
DELETE /api/canvas-extensions/installed/{extension_name}/backend/data
GET /api/canvas-extensions/installed/{extension_name}/backend/logs
POST /api/canvas-extensions/installed/{extension_name}/backend/prepare
POST /api/canvas-extensions/installed/{extension_name}/backend/start
POST /api/canvas-extensions/installed/{extension_name}/backend/stop
GET /api/canvas-extensions/installed/{extension_name}/bundle
GET /api/canvas-extensions/installed/{extension_name}/icon
GET,POST /api/conversations
GET /api/conversations/count
GET /api/conversations/search
GET,DELETE,PATCH /api/conversations/{conversation_id}
GET /api/conversations/{conversation_id}/agent_final_response
POST /api/conversations/{conversation_id}/ask_agent
POST /api/conversations/{conversation_id}/children
POST /api/conversations/{conversation_id}/condense
POST /api/conversations/{conversation_id}/confirmation_policy
GET,POST /api/conversations/{conversation_id}/events
GET /api/conversations/{conversation_id}/events/count
POST /api/conversations/{conversation_id}/events/respond_to_confirmation
GET /api/conversations/{conversation_id}/events/search
GET /api/conversations/{conversation_id}/events/{event_id}
POST /api/conversations/{conversation_id}/fork
POST /api/conversations/{conversation_id}/goal
POST /api/conversations/{conversation_id}/goal/resume
POST /api/conversations/{conversation_id}/goal/stop
POST /api/conversations/{conversation_id}/interrupt
POST /api/conversations/{conversation_id}/load_plugin
POST /api/conversations/{conversation_id}/navigate
POST /api/conversations/{conversation_id}/pause
POST /api/conversations/{conversation_id}/run
GET /api/conversations/{conversation_id}/runtime
POST /api/conversations/{conversation_id}/runtime/reprovision
POST /api/conversations/{conversation_id}/secrets
POST /api/conversations/{conversation_id}/security_analyzer
POST /api/conversations/{conversation_id}/switch_acp_model
POST /api/conversations/{conversation_id}/switch_llm
POST /api/conversations/{conversation_id}/switch_profile
GET /api/conversations/{conversation_id}/workspace
GET /api/conversations/{conversation_id}/workspace/{file_path}
POST /api/conversations/{runtime_conversation_id}/bash/bash_commands/{command_id}/stop
DELETE /api/conversations/{runtime_conversation_id}/bash/bash_events
GET /api/conversations/{runtime_conversation_id}/bash/bash_events/
GET /api/conversations/{runtime_conversation_id}/bash/bash_events/search
GET /api/conversations/{runtime_conversation_id}/bash/bash_events/{event_id}
POST /api/conversations/{runtime_conversation_id}/bash/execute_bash_command
POST /api/conversations/{runtime_conversation_id}/bash/start_bash_command
GET /api/conversations/{runtime_conversation_id}/file/archive
POST /api/conversations/{runtime_conversation_id}/file/create_directory
GET /api/conversations/{runtime_conversation_id}/file/download
GET /api/conversations/{runtime_conversation_id}/file/download-trajectory/{conversation_id}
POST /api/conversations/{runtime_conversation_id}/file/upload
GET /api/conversations/{runtime_conversation_id}/git/changes
GET /api/conversations/{runtime_conversation_id}/git/commits
GET /api/conversations/{runtime_conversation_id}/git/commits/{sha}/changes
GET /api/conversations/{runtime_conversation_id}/git/diff
GET /api/conversations/{runtime_conversation_id}/vscode/status
GET /api/conversations/{runtime_conversation_id}/vscode/url
GET /api/file/archive
POST /api/file/create_directory
GET /api/file/download
GET /api/file/download-trajectory/{conversation_id}
GET /api/file/home
GET /api/file/search_subdirs
POST /api/file/upload
GET /api/git/changes
GET /api/git/commits
GET /api/git/commits/{sha}/changes
GET /api/git/diff
GET /api/git/repositories/search
POST /api/hooks
GET /api/llm/models
GET /api/llm/models/verified
GET,POST /api/llm/provider-connections
PATCH,DELETE /api/llm/provider-connections/{connection_id}
GET /api/llm/providers
POST /api/llm/subscription/openai/device/poll
POST /api/llm/subscription/openai/device/start
POST /api/llm/subscription/openai/logout
GET /api/llm/subscription/openai/models
GET /api/llm/subscription/openai/status
POST /api/mcp/oauth/callback/{job_id}
POST /api/mcp/oauth/start
GET /api/mcp/oauth/status/{job_id}
POST /api/mcp/test
GET /api/meta-profiles
GET,POST,DELETE /api/meta-profiles/{name}
POST /api/meta-profiles/{name}/activate
POST /api/plugins
POST /api/plugins/fetch
POST /api/plugins/install
GET /api/plugins/installed
GET,PATCH,DELETE /api/plugins/installed/{plugin_name}
POST /api/plugins/installed/{plugin_name}/refresh
GET /api/plugins/marketplace
GET /api/profiles
GET,POST,DELETE /api/profiles/{name}
POST /api/profiles/{name}/activate
POST /api/profiles/{name}/rename
POST /api/profiles/{name}/validate
GET,PATCH /api/settings
GET /api/settings/agent-schema
GET /api/settings/conversation-schema
POST,PATCH,DELETE /api/settings/mcp/{settings_key}
GET,PUT /api/settings/secrets
GET,DELETE /api/settings/secrets/{name}
POST /api/skills
GET /api/skills/catalog
POST /api/skills/install
GET /api/skills/installed
GET,PATCH,DELETE /api/skills/installed/{skill_name}
POST /api/skills/installed/{skill_name}/refresh
GET /api/skills/marketplace
POST /api/skills/sync
POST /api/sub-agents
GET /api/tools/
GET /api/tools/catalog
GET /api/vscode/status
GET /api/vscode/url
GET,POST,DELETE /api/workspaces
POST,DELETE /api/workspaces/parents
POST,DELETE /app-backends/{extension_name}/session
POST /v1/chat/completions
GET /v1/models
POST /v1/responses
"""

#: Template -> methods.
GATED: dict[str, tuple[str, ...]] = {
    path: tuple(methods.split(",")) for methods, path in (line.split() for line in _GATED.split("\n") if line)
}

_PATTERNS = [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), methods) for path, methods in GATED.items()]


def methods_of(path: str) -> set[str]:
    """The methods of the gated routes that ``path`` fits; empty where there is no such route."""
    return {method for pattern, methods in _PATTERNS if pattern.fullmatch(path) for method in methods}


def openapi(version: str, open_paths: tuple[str, ...]) -> dict[str, Any]:
    """The document of /openapi.json, without the schemas."""
    paths: dict[str, dict[str, Any]] = {path: {"get": {}} for path in open_paths}
    paths[INIT] = {"get": {}, "post": {}}
    for path, methods in GATED.items():
        paths[path] = {method.lower(): {} for method in methods}
    return {
        "openapi": "3.1.0",
        "info": {"title": "OpenHands Agent Server", "version": version},
        "paths": paths,
    }
