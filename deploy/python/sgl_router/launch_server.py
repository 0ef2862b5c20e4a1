"""`python -m sgl_router.launch_server`: says what to do instead of `python -m sglang_router.launch_server`, which
starts engines and a router in one process."""

import sys

ADVICE = """\
sgl_router starts no engines. Start them by themselves, one for each of --dp-size, each at a port of its own:
    python -m sglang.launch_server --model-path MODEL --port 31000
then the router, with the flags of its own that you gave (--router-policy and the like may keep their prefix):
    python -m sgl_router.launch_router --worker-urls http://127.0.0.1:31000 ...
Engines of --grpc-mode are not routed to: leave that out. docs/migration.md says what becomes of each flag."""


def main() -> None:
    """Ends with the exit code of wrong usage."""
    print(ADVICE, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
