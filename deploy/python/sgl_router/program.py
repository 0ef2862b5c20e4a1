"""Where the program is that the wheel brings along."""

import os
import shutil
import sysconfig
from pathlib import Path

NAME = "sgl-router.exe" if os.name == "nt" else "sgl-router"


def find_program() -> str:
    """The path of the program: that of this installation, else the first in PATH."""
    package = Path(__file__).resolve().parent
    # pip install --target; into an environment, for the user, or with --prefix: lib/python3.x/site-packages
    # is three below it; wherever this python has its programs.
    places = [package.parent / "bin", *(above / "bin" for above in list(package.parents)[3:4]), sysconfig.get_path("scripts")]
    for place in places:
        program = Path(place) / NAME
        if program.is_file() and os.access(program, os.X_OK):
            return str(program)
    found = shutil.which(NAME)
    if found is None:
        raise FileNotFoundError(f"{NAME} was not found beside this package ({package}) nor in PATH; install the wheel again")
    return found
