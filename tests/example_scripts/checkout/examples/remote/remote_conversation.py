"""A conversation with a tool, through the SDK, with the helper's session key."""

import os
import tempfile
from pathlib import Path

from pydantic import SecretStr
from scripts.utils import ManagedAPIServer

from openhands.sdk import LLM, Agent, Conversation, RemoteConversation, Tool, Workspace
from openhands.tools.terminal import TerminalTool

llm = LLM(
    usage_id="agent",
    model=os.environ["LLM_MODEL"],
    base_url=os.environ.get("LLM_BASE_URL"),
    api_key=SecretStr(os.environ["LLM_API_KEY"]),
)

with ManagedAPIServer(port=8017, host="127.0.0.1", use_session_api_key=True) as server:
    folder = Path(tempfile.mkdtemp(prefix="remote_conversation_"))
    (folder / "hello.txt").write_text("from the script\n")
    workspace = Workspace(host=server.base_url, working_dir=str(folder), api_key=server.session_api_key)
    seen = workspace.execute_command(f"cd {folder} && cat hello.txt && id -u && touch from-the-container")
    assert seen.exit_code == 0, seen
    assert seen.stdout.splitlines()[0] == "from the script"
    assert (folder / "from-the-container").exists()

    agent = Agent(llm=llm, tools=[Tool(name=TerminalTool.name)])
    conversation = Conversation(agent=agent, workspace=workspace)
    assert isinstance(conversation, RemoteConversation)
    conversation.send_message("Run `echo made by the agent > answer.txt` in the terminal.")
    conversation.run()
    assert (folder / "answer.txt").read_text() == "made by the agent\n"
    print(f"EXAMPLE_COST: {conversation.conversation_stats.get_combined_metrics().accumulated_cost}")
    conversation.close()
