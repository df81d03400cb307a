"""Lives in a script's process, on its Python (3.12 or later), with the standard library alone.

    hooks           changes a module when it is imported; nothing is imported early
    managed_server  stands in for the helper that starts a server, ``scripts.utils.ManagedAPIServer``
    agent_server    stands in for ``python -m openhands.agent_server``, which older scripts start themselves
    servers         which address the script asked for, and where that server really is
    redirect        connections to the one go to the other
    trace           tells the runner of the requests to those servers
    folders         lets the container's user write into the folders that the script makes
    line            the way to the runner (broker.py): JSON lines over a Unix socket

A script must end as it would without all this: where the runner is gone, or has no part in what is done,
each of these does what Python does.
"""
