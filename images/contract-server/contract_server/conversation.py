"""One conversation: its events, its state, its bill, and the thread in which it runs."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from contract_server import model, shell
from contract_server.exact import Literal
from contract_server.faults import Fault, Told

Json = dict[str, Any]

TERMINAL = ("finished", "error", "stuck")
SYSTEM_PROMPT = "You are the agent of a contract server. Do as you are told, in as few words as can be."
# Said in the user's name where the provider refused what the model was to read or to say.
NUDGE = "That was blocked by the model's content filter. Say it in other words."
WRONG_ANSWER = "41, I believe"

# What the conversation is, for good, without asking the model.
_STAYS = {
    Fault.CONVERSATION_NEVER_STARTS: "idle",
    Fault.RUNS_FOR_EVER: "running",
    Fault.SPENDS: "running",
    Fault.PAUSED_FOR_EVER: "paused",
    Fault.WAITING_FOR_CONFIRMATION: "waiting_for_confirmation",
    Fault.ERROR: "error",
    Fault.ERROR_OVER_REST: "error",
    Fault.STUCK: "stuck",
    Fault.UNKNOWN_STATUS: "hibernating",
    Fault.STOPPED: "stopped",
}
_SPEND_SECONDS = 0.2  # between two updates of a growing cost


def tools_of(request: Mapping[str, Any]) -> list[str]:
    """The names of the tools that a conversation is to have."""
    agent = request.get("agent")
    tools = agent.get("tools") if isinstance(agent, dict) else None
    return [str(tool.get("name")) for tool in tools or () if isinstance(tool, dict)]


class Conversation:
    """What was asked, and what became of it. ``changed`` is notified at every event."""

    def __init__(self, identity: str, request: Mapping[str, Any], told: Told) -> None:
        self.id = identity
        self.status = "idle"
        self.events: list[Json] = []
        self.changed = threading.Condition()
        self.response = ""
        self.deleted = threading.Event()
        self.rest_flaps = int(told.number()) if told.fault is Fault.REST_FLAPS_503 else 0
        self._flapped = threading.Event()
        self._told = told
        agent = request.get("agent")
        llm = agent.get("llm") if isinstance(agent, dict) else None
        self._llm: Json = llm if isinstance(llm, dict) else {}
        self._workspace = request["workspace"]
        self._most_calls = int(request.get("max_iterations") or 500)
        self._created = _now()
        self._updated = self._created
        self._calls: list[model.Answer] = []
        self._spent = Decimal(0)
        self._message = request.get("initial_message")
        self._last_message: str | None = None
        self._tools = [shell.SPECIFICATION] if tools_of(request) else []
        self._turns: list[Json] = [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        ]
        self._add(
            "SystemPromptEvent",
            "agent",
            system_prompt={"type": "text", "text": SYSTEM_PROMPT},
            tools=[tool["function"] for tool in self._tools],
        )
        if isinstance(self._message, dict):
            self.hear(self._message)

    @property
    def wants_run(self) -> bool:
        # Whatever the message's own ``run`` says: 1.58.0 runs what it is given to start with.
        return isinstance(self._message, dict)

    @property
    def api_key(self) -> str:
        return str(self._llm.get("api_key") or "")

    def hear(self, message: Json) -> None:
        """Take a message of the user."""
        content = message.get("content") or []
        if self.status != "idle":
            self._become("idle")
        self._last_message = self._say("user", content)
        self._tell("last_user_message_id", self._last_message)
        self._turns.append({"role": "user", "content": content})

    def run(self, before_end: Callable[[], object]) -> None:
        """Ask the model and end; ``before_end`` returns when the end may be told."""
        fault = self._told.fault
        if fault in _STAYS:
            self._stay(_STAYS[fault])
            return
        self._become("running")
        try:
            answer = self._work()
        except model.ModelError as error:
            before_end()
            self._fail(error.code, str(error))
            return
        self.response = {Fault.EMPTY_ANSWER: "", Fault.WRONG_ANSWER: WRONG_ANSWER}.get(fault, answer.text)
        if fault is Fault.RUNS_FOR:
            self.deleted.wait(self._told.number())
        if fault is Fault.REST_FLAPS_503:
            self._flapped.wait(60)
        before_end()
        self._say("agent", [{"type": "text", "text": self.response}], llm_response_id=answer.response_id)
        self._become("finished")

    def _work(self) -> model.Answer:
        """Ask the model, and do what it calls, until it says something. Raises ``model.ModelError``."""
        for _ in range(self._most_calls):
            try:
                answer = model.ask(self._llm, self._turns, self.deleted.wait, self._tools)
            except model.ContentRefused:
                self._say("user", [{"type": "text", "text": NUDGE}])
                continue
            self._calls.append(answer)
            self._tell("stats", self.stats(whole=False))
            if not answer.tool_calls:
                self._turns.append({"role": "assistant", "content": answer.text})
                return answer
            self._turns.append({"role": "assistant", "content": None, "tool_calls": list(answer.tool_calls)})
            for call in answer.tool_calls:
                self._turns.append(self._use(call, answer.response_id))
        limit = f"Agent reached maximum iterations limit ({self._most_calls})."
        raise model.ModelError("MaxIterationsReached", limit)

    def _use(self, call: Json, response: str) -> Json:
        """Run a call of the terminal; the turn that tells the model what came of it."""
        command = str(json.loads(call["function"]["arguments"]).get("command"))
        about = {"tool_name": shell.TOOL, "tool_call_id": call["id"]}
        action = {"command": command, "kind": "TerminalAction"}
        done = self._add("ActionEvent", "agent", **about, action=action, llm_response_id=response)
        seen = shell.observe(command, str(self._workspace.get("working_dir")), self._told.fault)
        self._add("ObservationEvent", "environment", **about, observation=seen, action_id=done)
        return {"role": "tool", "tool_call_id": call["id"], "content": seen["content"]}

    def _stay(self, status: str) -> None:
        if status != "idle":
            self._become("running")
        if self._told.fault is Fault.SPENDS:
            while not self.deleted.wait(_SPEND_SECONDS):
                self._spent += Decimal(self._told.text()) * Decimal(str(_SPEND_SECONDS))
                self._tell("stats", self.stats(whole=False))
        elif status == "error":
            self._fail(self._told.text(), "the agent lost its tools")
        elif status not in ("idle", "running"):
            self._become(status)

    def flap(self) -> bool:
        """Whether this reading of the running conversation is one of those that fail."""
        if self.rest_flaps <= 0 or self.status != "running":
            return False
        self.rest_flaps -= 1
        if self.rest_flaps == 0:
            self._flapped.set()
        return True

    def info(self) -> Json:
        """As GET /api/conversations/{id} has it; the fields that depend on the agent's tools are left out."""
        info: Json = {
            "id": self.id,
            "workspace": {**self._workspace, "kind": "LocalWorkspace"},
            "max_iterations": self._most_calls,
            "stuck_detection": True,
            "execution_status": self.status,
            "last_user_message_id": self._last_message,
            "stats": self.stats(),
            "title": None,
            "metrics": None,
            "created_at": self._created + "Z",
            "updated_at": self._updated + "Z",
            "tags": {},
            "agent": {
                "kind": "Agent",
                "llm": {**self._llm, "api_key": None, "usage_id": self._llm.get("usage_id", "default")},
                "tools": [],
            },
        }
        if self._told.fault is Fault.METRICS_MISSING:
            del info["stats"]
        return info

    def wait_for_events(self, at: int, gone: threading.Event) -> list[Json]:
        """The events from number ``at`` on, once there are some; none after a second, or once ``gone``."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) > at or gone.is_set(), timeout=1)
            return self.events[at:]

    def full_state(self) -> Json:
        """What a subscriber is told first."""
        info = self.info()
        info["agent"]["llm"]["api_key"] = "**********"
        state = {"key": "full_state", "value": info}
        return _event("ConversationStateUpdateEvent", "environment", None, state)

    def stats(self, *, whole: bool = True) -> Json:
        """The bill; ``whole`` with its single calls, which the events leave out."""
        name = self._llm.get("model")
        prompt = sum(call.prompt_tokens for call in self._calls)
        completion = sum(call.completion_tokens for call in self._calls)
        if self._told.fault is Fault.WRONG_TOKENS and self._calls:
            completion += 1
        metrics: Json = {
            "model_name": name,
            "accumulated_cost": self._cost(),
            "max_budget_per_task": None,
            "accumulated_token_usage": _usage(name, prompt, completion, self._calls, ""),
        }
        if whole:
            metrics |= {
                "costs": [{"model": name, "cost": call.cost, "timestamp": call.at} for call in self._calls],
                "response_latencies": [
                    {"model": name, "latency": call.seconds, "response_id": call.response_id}
                    for call in self._calls
                ],
                "token_usages": [
                    _usage(name, call.prompt_tokens, call.completion_tokens, [call], call.response_id)
                    for call in self._calls
                ],
            }
        if self._told.fault is Fault.COST_MISSING:
            del metrics["accumulated_cost"]
        return {"usage_to_metrics": {"default": metrics}}

    def _cost(self) -> object:
        cost = sum((call.cost for call in self._calls), self._spent)
        spelled: dict[Fault, object] = {
            Fault.COST_ZERO: Decimal(0),
            Fault.COST_NEGATIVE: -cost,
            Fault.COST_NAN: Literal("NaN"),
            Fault.COST_STRING: format(cost, "f"),
            Fault.COST_HUGE: Literal("1e300"),
        }
        return spelled.get(self._told.fault, cost)

    def _say(self, source: str, content: list[Json], **more: Any) -> str:
        role = "user" if source == "user" else "assistant"
        message = {"role": role, "content": content, "thinking_blocks": []}
        return self._add("MessageEvent", source, llm_message=message, **more)

    def _become(self, status: str) -> None:
        self.status = status
        self._tell("execution_status", status)

    def _fail(self, code: str, detail: str) -> None:
        # In this order, as the real server: the state first, its reason a moment later.
        self._become("error")
        self._add("ConversationErrorEvent", "environment", code=code, detail=detail)

    def _tell(self, key: str, value: object) -> None:
        self._add("ConversationStateUpdateEvent", "environment", key=key, value=value)

    def _add(self, kind: str, source: str, **fields: Any) -> str:
        with self.changed:
            parent = self.events[-1]["id"] if self.events else None
            event = _event(kind, source, parent, fields)
            self._updated = event["timestamp"]
            self.events.append(event)
            self.changed.notify_all()
        return str(event["id"])


def _event(kind: str, source: str, parent: str | None, fields: Mapping[str, Any]) -> Json:
    chain = {"parent_id": parent} if parent else {}
    return {
        "id": str(uuid.uuid4()),
        "timestamp": _now(),
        "source": source,
        **chain,
        **fields,
        "kind": kind,
    }


def _usage(name: object, prompt: int, completion: int, calls: list[model.Answer], response: str) -> Json:
    return {
        "model": name,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cache_read_tokens": sum(call.cached_tokens for call in calls),
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "context_window": 128_000 if calls else 0,
        "per_turn_token": calls[-1].prompt_tokens + calls[-1].completion_tokens if calls else 0,
        "response_id": response,
    }


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
