"""Stands in for ``python -m openhands.agent_server``, which scripts with a helper of their own start."""

import sys

_MODULES = tuple(f"openhands.agent_server{end}" for end in ("", ".__main__", ".main"))


def asked_for() -> str | None:
    """Which of the server's modules this process was started to run, if any."""
    # While Python looks for the module that -m names, that is what stands in argv[0].
    if sys.argv[:1] != ["-m"]:
        return None
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    return module if module in _MODULES else None


def main() -> None:
    """Boot the server, keep it until somebody ends this process by TERM or INT, and stop it."""
    import argparse
    import signal

    from e2e_matrix_inside.managed_server import ManagedAPIServer

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments, _ = parser.parse_known_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with ManagedAPIServer(arguments.port, arguments.host) as server:
            print(f"e2e-matrix: the container of this cell answers for {server.base_url}", flush=True)
            while True:
                signal.pause()
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
