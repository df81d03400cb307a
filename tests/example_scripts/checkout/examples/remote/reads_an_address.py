"""An example that starts no server: it is told where one is."""

import os
import sys
import urllib.request

request = urllib.request.Request(f"{os.environ['AGENT_SERVER_URL']}/api/conversations/search")
request.add_header("X-Session-API-Key", sys.argv[1])
with urllib.request.urlopen(request, timeout=30) as answer:
    assert answer.status == 200
print("EXAMPLE_COST: 0.0")
