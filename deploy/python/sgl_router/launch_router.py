"""`python -m sgl_router.launch_router FLAGS`: the router in the place of this process, with the flags of
`sgl-router serve`, which follow those of `sglang_router.launch_router`."""

import os
import subprocess
import sys

from .program import find_program


def main() -> None:
    """Becomes the router, so that signals and exit codes are its own."""
    command = [find_program(), "serve", *sys.argv[1:]]
    if os.name == "nt":
        # There a program cannot take the place of another one.
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
