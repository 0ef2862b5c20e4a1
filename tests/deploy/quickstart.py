"""docs/quickstart.md: its blocks are run as they are written, each way in a network of its own, so that the
ports are those of the document. What is replaced, and by what, stands in this file: builds, by what is built
already; a cluster, by a dry run; Docker, by `container.py`, which starts the same things in the same image."""

import json
import os
import re
import shlex
import subprocess
import sys
import venv

import cluster
import container
from parts import ROOT, Skipped
from wheel import built_wheel

PAGE = ROOT / "docs" / "quickstart.md"
# Between two steps, in what a script prints.
MARK = "--- step ---"
# Brings up the loopback of a network that has nothing else: SIOCSIFFLAGS with IFF_UP.
LOOPBACK = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))"
# Until the router may choose both workers.
HEALTHY = "$(curl -s localhost:29001/workers | grep -o '\"healthy\":true' | wc -l)"
WAIT = f"for _ in $(seq 600); do [ {HEALTHY} = 2 ] && break; sleep 0.1; done; [ {HEALTHY} = 2 ]"


class Checks:
    def __init__(self, stack, binary, directory):
        self.stack, self.binary, self.directory = stack, binary, directory
        head, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
        ((_, self.request),) = blocks(head)
        self.ways = {section.split("\n", 1)[0]: blocks(section) for section in sections}

    def check_there_are_five_ways(self):
        assert list(self.ways) == ["A binary", "A container", "Kubernetes", "pip", "Embedded"], list(self.ways)

    def check_binary(self):
        checkout = self.checkout()
        built = checkout / "target/release"
        built.mkdir(parents=True)
        (built / "sgl-router").symlink_to(self.binary)
        self.replace(checkout, "scripts/build_release.sh", '[ "$*" = release ]')
        build, start, look = self.ways["A binary"]
        _, answer, listed = self.steps([build, start + ("\n" + WAIT,), ("bash", self.request), look], checkout)
        self.assert_answer(answer)
        for text in ("cache_aware", "http://127.0.0.1:8001", "http://127.0.0.1:8002"):
            assert text in listed, listed

    def check_container(self):
        """Names in the commands are names of files, services and ports; container.py starts them."""
        services = container.compose_file()["services"]
        file = str(container.CONTAINER.relative_to(ROOT) / "compose.yaml")
        dockerfile = str(container.CONTAINER.relative_to(ROOT) / "Dockerfile")
        commands = [shlex.split(line) for _, block in self.ways["A container"] for line in block.splitlines()]
        compose = ["docker", "compose", "-f", file]
        assert commands == [
            ["docker", "build", "-t", services["router"]["image"], "-f", dockerfile, "."],
            [*compose, "up", "-d", "--wait"],
            [*compose, "exec", "router", "sgl-router", "status"],
            [*compose, "down"],
        ], commands
        assert "30000:30000" in services["router"]["ports"], services

    def check_kubernetes(self):
        """Manifests are applied by kubectl's dry run; other commands name what these make."""
        server = cluster.start_double(self.stack)
        made = {}
        for line in "".join(block for _, block in self.ways["Kubernetes"]).splitlines():
            command = shlex.split(line)
            assert command[0] == "kubectl", line
            if command[1:3] == ["apply", "-k"]:
                said = cluster.apply_dry(server, ROOT / command[3], self.directory)
                assert "created (dry run)" in said, said
                for one in cluster.objects(ROOT / command[3]):
                    made[f"{one['kind'].lower()}/{one['metadata']['name']}"] = one
                continue
            (name,) = [word for word in command if "/" in word and "=" not in word]
            assert name in made, (name, list(made))
            if command[1] == "port-forward":
                assert command[3] in [str(port["port"]) for port in made[name]["spec"]["ports"]], line
            elif command[1] == "exec":
                assert command[command.index("--") + 1 :] == ["sgl-router", "status"], line
            else:
                assert command[1:3] == ["rollout", "status"], line
        assert {"deployment/sgl-router", "service/sgl-router", "statefulset/engine"} <= made.keys(), made.keys()

    def check_pip(self):
        checkout = self.checkout()
        wheels = checkout / "target/wheels"
        wheel = shlex.quote(str(built_wheel()))
        self.replace(checkout, "scripts/build_wheel.sh", f'[ "$*" = release ] && mkdir -p {wheels} && ln -s {wheel} {wheels}')
        environment = self.directory / "pip-venv"
        venv.create(environment, with_pip=True)
        install, start, program = self.ways["pip"]
        steps = [install, start + ("\n" + WAIT,), ("bash", self.request), program]
        _, answer, said = self.steps(steps, checkout, PATH=f"{environment / 'bin'}:{os.environ['PATH']}", PIP_DISABLE_PIP_VERSION_CHECK="1")
        self.assert_answer(answer)
        assert len(said.split()) == 8, said

    def check_embedded(self):
        """The code is that of an example which tests run; the manifest is the README's."""
        (_, manifest), (language, code) = self.ways["Embedded"]
        assert language == "rust" and code in (ROOT / "examples/embed.rs").read_text()
        assert manifest in (ROOT / "README.md").read_text()
        module = re.search(r'"dist/plugins/(\w+)\.wasm"', code)[1]
        assert f"build_wasm_plugins.sh build {module}`" in PAGE.read_text()
        assert (ROOT / "plugins" / module).is_dir()

    # --- running blocks ----------------------------------------------------------------

    def checkout(self):
        """The repository as somebody has it who has built nothing, with scripts that can be replaced."""
        folder = self.directory / "checkout"
        if folder.exists():
            folder.rename(self.directory / f"checkout-{len(list(self.directory.iterdir()))}")
        (folder / "scripts").mkdir(parents=True)
        for path in ROOT.iterdir():
            if path.name not in ("target", "scripts"):
                (folder / path.name).symlink_to(path)
        return folder

    def replace(self, checkout, script, by):
        """Another script in the place of one that is there."""
        assert os.access(ROOT / script, os.X_OK), script
        (checkout / script).write_text(f"#!/bin/sh\n{by}\n")
        (checkout / script).chmod(0o755)

    def steps(self, steps, folder, **variables):
        """Runs blocks one after the other in one shell, in a network of its own; gives what each but those
        that only start something printed."""
        text = "set -eo pipefail\n"
        for language, *code in steps:
            code = "".join(code)
            text += f"python - <<'PROGRAM'\n{code}PROGRAM\n" if language == "python" else f"{code}\n"
            text += f"echo; echo '{MARK}'\n"
        log = self.directory / "steps.log"
        with open(log, "w") as file:
            # All that it starts ends with it.
            command = [*isolated(), sys.executable, "-c", f"{LOOPBACK}; import os; os.execvp('bash', ['bash', '-c', {text!r}])"]
            done = subprocess.run(command, cwd=folder, env=os.environ | variables, stdout=subprocess.PIPE, stderr=file, stdin=subprocess.DEVNULL, text=True, timeout=300)
        assert done.returncode == 0, f"{done.stdout}\n{log.read_text()}"
        _, *printed = done.stdout.split(MARK)[:-1]
        return printed

    def assert_answer(self, text):
        answer = json.loads(text)
        assert answer["usage"]["completion_tokens"] == 8 and answer["choices"][0]["message"]["content"], answer


def blocks(text):
    """Language and text of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def isolated():
    """The command before another one that runs it with a network and processes of its own."""
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
    if os.getuid() != 0:
        command.insert(1, "--map-root-user")
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        raise Skipped("a network of its own needs root, or user name spaces")
    return command
