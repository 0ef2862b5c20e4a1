"""`python -m sgl_router ARGUMENTS`: the program `sgl-router` in the place of this process, as
`python -m sglang_router` is the command line of that package."""

import os
import subprocess
import sys

from . import launch_server
from .program import find_program


def main() -> None:
    """Becomes the program, so that signals and exit codes are its own."""
    if sys.argv[1:2] == ["server"]:
        launch_server.main()
    command = [find_program(), *sys.argv[1:]]
    if os.name == "nt":
        # There a program cannot take the place of another one.
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
