"""The Python package, installed into a fresh virtual environment: what is in it, the command line of users of
sglang_router, and routers as processes of a Python program."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile

from parts import FREE_PORTS, ROOT, Router, SimWorker, chat, run

EXAMPLES = ROOT / "crates/router/tests/fixtures/other_routers/examples.txt"


class Checks:
    def __init__(self, stack, binary, directory):
        self.stack, self.binary, self.directory = stack, binary, directory
        self.wheel = built_wheel()
        venv.create(directory / "venv", with_pip=True)
        self.python = directory / "venv" / "bin" / "python"
        self.install("--no-index", self.wheel)
        self.worker = SimWorker(stack, [binary, "sim-worker"], directory / "worker.log")

    def check_wheel_holds_the_program_and_the_module_and_suits_every_python(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        assert re.fullmatch(rf"sgl_router-{re.escape(version)}-py3-none-(many)?linux\w+\.whl", self.wheel.name), self.wheel
        with zipfile.ZipFile(self.wheel) as archive:
            kinds = {name for name in archive.namelist() if ".dist-info/" not in name}
            licence = archive.read(f"sgl_router-{version}.dist-info/licenses/LICENSE")
        assert licence == (ROOT / "LICENSE").read_bytes()
        modules = {f"sgl_router/{path.name}" for path in (ROOT / "deploy/python/sgl_router").glob("*.py")}
        assert modules and kinds == modules | {f"sgl_router-{version}.data/scripts/sgl-router"}, kinds

    def check_program_is_beside_python_with_all_policies(self):
        program = self.python.parent / "sgl-router"
        assert run([program, "plugin", "list", "--embedded"]) == run([self.binary, "plugin", "list", "--embedded"])
        assert "cache_aware" in run([program, "plugin", "list", "--embedded"])

    def check_module_of_sglang_router_with_one_word_changed_starts_the_router(self):
        theirs = "python -m sglang_router.launch_router --worker-urls WORKER --policy cache_aware"
        words = theirs.replace("sglang_router", "sgl_router").replace("WORKER", self.worker.url).split()
        router = Router(self.stack, [self.python, *words[1:], *FREE_PORTS], self.directory / "launched.log")
        router.wait_until_ready()
        assert chat(router.url)[0] == 200
        # The router has taken the place of Python: what a supervisor signals is it.
        assert pathlib.Path(f"/proc/{router.process.pid}/exe").resolve() == (self.python.parent / "sgl-router").resolve()
        assert router.end() == 0

    def check_examples_of_sglang_router_that_need_no_worker_say_what_they_are_to_say(self):
        lines = EXAMPLES.read_text().splitlines()
        advised = printed = 0
        for kind, line in (line.split(" | ", 1) for line in lines if line and not line.startswith("#")):
            words = shlex.split(line.replace("sglang_router", "sgl_router"))
            if not words[0].startswith("python") or kind not in ("advises", "prints"):
                continue
            done = subprocess.run([self.python, *words[1:]], capture_output=True, text=True, timeout=60)
            if kind == "prints":
                assert done.returncode == 0 and done.stdout.startswith("sgl-router "), (line, done)
                printed += 1
                continue
            advised += 1
            assert done.returncode == 2 and "sgl_router starts no engines" in done.stderr, (line, done)
            assert "sgl_router.launch_router --worker-urls" in done.stderr, (line, done)
        assert (advised, printed) == (2, 1), (advised, printed)

    def check_module_is_the_command_line(self):
        listed = run([self.python, "-m", "sgl_router", "plugin", "list", "--embedded"])
        assert "cache_aware" in listed, listed
        done = subprocess.run([self.python, "-m", "sgl_router", "server"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "sgl_router starts no engines" in done.stderr, done

    def check_program_starts_routers_asks_them_and_stops_them(self):
        said = self.program(
            f"""
            first = Router.start("--policy", "cache_aware", "--worker-urls", {self.worker.url!r})
            with Router.start("--worker-urls", {self.worker.url!r}) as second:
                assert first.url != second.url
                for router in first, second:
                    assert ask(router.url + "/readiness")["ready"]
                    assert len(ask(router.admin_url + "/workers")["workers"]) == 1
                    assert b"sgl_router_" in urllib.request.urlopen(router.metrics_url + "/metrics").read()
            assert second.process.returncode == 0
            assert first.process.poll() is None
            assert first.stop() == 0 and first.stop() == 0
            print("done")
            """
        )
        assert said == "done\n", said

    def check_router_without_workers_serves_if_nobody_waits_for_them(self):
        said = self.program(
            f"""
            with Router.start("--health-check-interval-secs", "1", wait_for_workers=False) as router:
                post(router.admin_url + "/workers", {{"url": {self.worker.url!r}}})
                while not ask(router.admin_url + "/workers")["workers"][0]["healthy"]:
                    time.sleep(0.05)
                print(ask(router.url + "/readiness")["ready"])
            """
        )
        assert said == "True\n", said

    def check_router_that_does_not_start_is_an_error_that_says_why(self):
        said = self.program(
            """
            for flags in (["--policy", "nope"], ["--no-such-flag"], ["--worker-urls", "http://127.0.0.1:1"], []):
                try:
                    Router.start(*flags, timeout=1)
                except RouterError as error:
                    print(error)
            """
        )
        for text in ('found "nope"', "--no-such-flag", "none_healthy", "none_configured"):
            assert text in said, (text, said)
        assert said.count("the router did not start") == 2 and said.count("the router is not ready") == 2, said

    def check_router_ends_with_the_program_that_forgot_it(self):
        said = self.program(f'print(Router.start("--worker-urls", {self.worker.url!r}).process.pid)')
        assert not alive(int(said)), said

    def check_signal_to_the_program_reaches_a_router_in_the_foreground(self):
        command = [self.python, "-m", "sgl_router.launch_router", "--worker-urls", self.worker.url, *FREE_PORTS]
        router = Router(self.stack, command, self.directory / "signalled.log")
        router.process.send_signal(signal.SIGINT)
        assert router.process.wait(60) == 0

    def check_program_is_found_where_pip_puts_it_otherwise(self):
        target = self.directory / "target"
        self.install("--no-index", "--target", target, self.wheel)
        code = "import sgl_router; print(sgl_router.find_program())"
        found = run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(target), "PATH": ""})
        assert found.strip() == str(target / "bin" / "sgl-router"), found

    def install(self, *arguments):
        run([self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])

    def program(self, text):
        """What a Python program prints that has the package; it fails with all that it said."""
        lines = text.strip("\n").splitlines()
        indentation = len(lines[0]) - len(lines[0].lstrip())
        body = "\n".join(line[indentation:] for line in lines)
        head = "import json, time, urllib.request\nfrom sgl_router import Router, RouterError\n"
        head += "def ask(url): return json.load(urllib.request.urlopen(url))\n"
        head += "def post(url, body): urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), {'content-type': 'application/json'}))\n"
        with tempfile.NamedTemporaryFile("w+", dir=self.directory) as log:
            done = subprocess.run([self.python, "-c", head + body], stdout=subprocess.PIPE, stderr=log, text=True, timeout=300)
            log.seek(0)
            assert done.returncode == 0, log.read()
        return done.stdout


def built_wheel():
    """The wheel that scripts/build_wheel.sh dev made."""
    folder = pathlib.Path(os.environ["SGL_DEV_WHEELS"])
    (wheel,) = folder.glob("*.whl")
    return wheel


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
