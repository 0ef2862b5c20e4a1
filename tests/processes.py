"""What all end-to-end tests need: waiting for what takes a moment, and ending what was started."""

import subprocess
import time

# For what takes a moment; nothing here is expected to come near it.
LONGEST_WAIT_S = 60


def wait_for(what, probe, seconds=LONGEST_WAIT_S):
    """The first true value of `probe`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not come about in {seconds} seconds")


def stop(process):
    """Ends a process, by force if it does not end by itself."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(LONGEST_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
