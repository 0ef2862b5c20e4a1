"""The image: its file system is made by the script that the Dockerfile runs, and what the compose file
starts is started in it, as Docker would: its own root, read-only, the image's user, no more of the machine
than processes and devices."""

import json
import os
import pathlib
import random
import re
import shlex
import stat
import subprocess
import tomllib

import yaml
from parts import DEPLOY, FREE_PORTS, ROOT, Router, SimWorker, Skipped, ask, chat, is_root, run

CONTAINER = DEPLOY / "container"
# Megabytes of everything but the router itself: the C library, certificates.
MOST_BESIDE_THE_ROUTER_MB = 10


class Checks:
    def __init__(self, stack, binary, directory):
        self.stack, self.binary, self.directory = stack, binary, directory
        self.dockerfile = Dockerfile((CONTAINER / "Dockerfile").read_text())
        self.compose = compose_file()
        self.rootfs = directory / "rootfs"
        run([CONTAINER / "rootfs.sh", binary, self.rootfs])

    def check_dockerfile_builds_with_the_pinned_compiler_and_with_scripts_that_are_there(self):
        pinned = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
        first = self.dockerfile.stages[0]
        assert pinned.startswith(first.image.removeprefix("rust:").split("-")[0] + "."), (first.image, pinned)
        scripts = re.findall(r"(?:scripts|deploy)/[\w/]+\.sh", " ".join(first.all("RUN")))
        assert scripts == ["scripts/build_release.sh", "deploy/container/rootfs.sh"], scripts
        assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
        ignored = (CONTAINER / "Dockerfile.dockerignore").read_text().split()
        assert not {"scripts", "deploy", "plugins", "crates", "src"} & set(ignored), ignored

    def check_image_is_small_and_holds_nothing_else(self):
        files = [path for path in self.rootfs.rglob("*") if path.is_file()]
        router = self.rootfs / "usr/local/bin/sgl-router"
        beside = sum(path.stat().st_size for path in files if path != router) / 1e6
        assert beside < MOST_BESIDE_THE_ROUTER_MB, f"{beside:.1f} MB"
        print(f"         {router.stat().st_size / 1e6:.0f} MB of router and {beside:.1f} MB beside it")
        programs = {str(path.relative_to(self.rootfs)) for path in files if "bin" in path.relative_to(self.rootfs).parts}
        assert programs == {"usr/local/bin/sgl-router"}, programs
        assert not any(path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID) for path in files)
        assert "BEGIN CERTIFICATE" in (self.rootfs / "etc/ssl/certs/ca-certificates.crt").read_text()

    def check_image_has_its_user_who_may_read_all_and_write_little(self):
        user, user_group = self.image_user()
        assert user != 0 and user_group != 0
        users = dict(re.findall(r"^[\w-]+:x:(\d+):(\d+):", (self.rootfs / "etc/passwd").read_text(), re.MULTILINE))
        assert users[str(user)] == str(user_group), users
        if not is_root():
            raise Skipped("files can be given to another user by root only")
        writable = set()
        for path in self.rootfs.rglob("*"):
            facts = path.lstat()
            its_own = facts.st_uid == user
            assert facts.st_mode & (stat.S_IRUSR if its_own else stat.S_IROTH), path
            if facts.st_mode & stat.S_IWOTH or its_own:
                writable.add(str(path.relative_to(self.rootfs)))
        assert writable == {"tmp", "var/lib/sgl-router", "var/cache/sgl-router"}, writable
        # COPY may give everything to root: each directory of its own is copied once more, with its owner.
        owned = {copy.split()[-1].strip("/") for copy in self.dockerfile.stages[-1].all("COPY") if f"--chown={user}:{user_group}" in copy}
        assert owned == writable - {"tmp"}, owned

    def check_image_starts_the_router_with_the_configuration_that_is_in_it(self):
        program, serve, flag, file = self.entrypoint()
        assert (program, serve, flag) == ("sgl-router", "serve", "--config")
        config = tomllib.loads((self.rootfs / file.lstrip("/")).read_text())
        ports = tomllib.loads((ROOT / "docs" / "router.example.toml").read_text())
        exposed = {int(port) for port in " ".join(self.dockerfile.stages[-1].all("EXPOSE")).split()}
        assert exposed == {ports["server"]["port"], ports["metrics"]["port"]}, exposed
        assert config["server"]["host"] == config["metrics"]["host"] == "0.0.0.0", config
        assert config["admin"]["host"] == "127.0.0.1", "beyond loopback there must be a token"

    def check_compose_file_agrees_with_the_image(self):
        services = self.compose["services"]
        for name, service in services.items():
            assert service["image"] == "sgl-router" and service["pull_policy"] == "never", name
            assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"] == ["/tmp"], name
        router = services["router"]
        assert "entrypoint" not in router, "the image's"
        urls = {part for part in router["command"] if part.startswith("http://")}
        ports = {flag.split("=")[1] for name in services if name != "router" for flag in services[name]["command"] if flag.startswith("--port=")}
        assert urls == {f"http://{name}:{port}" for name in services if name != "router" for port in ports}, urls
        exposed = " ".join(self.dockerfile.stages[-1].all("EXPOSE")).split()
        assert [port.rsplit(":", 1)[1] for port in router["ports"]] == exposed, router["ports"]

    def check_compose_file_runs_in_the_image(self):
        """Requests reach both workers by their names; the router is what the image says it is."""
        if not is_root():
            raise Skipped("another root directory and user need root")
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
            raise Skipped("file systems of its own need CAP_SYS_ADMIN")
        services = self.compose["services"]
        workers = [name for name in services if name != "router"]
        # Each worker has an address of its own, as in a network of containers.
        addresses = dict(zip(workers, random.sample(range(2, 250), len(workers)), strict=True))
        net = f"127.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        addresses = {name: f"{net}.{last}" for name, last in addresses.items()}
        (self.rootfs / "etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in addresses.items()))
        for name, ip in addresses.items():
            flags = [flag.replace("0.0.0.0", ip) for flag in services[name]["command"]]
            command = self.contained([*services[name]["entrypoint"], *flags])
            SimWorker(self.stack, command, self.directory / f"{name}.log")
        command = self.contained([*self.entrypoint(), *services["router"]["command"], *FREE_PORTS])
        router = Router(self.stack, command, self.directory / "router.log")
        router.wait_until_ready(workers=len(workers))

        user, user_group = self.image_user()
        facts = pathlib.Path(f"/proc/{router.process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{user}\s+{user}\s", facts, re.MULTILINE), facts
        assert re.search(rf"^Gid:\s+{user_group}\s+{user_group}\s", facts, re.MULTILINE), facts
        seen = set()
        for number in range(20):
            code, headers, _ = chat(router.url, messages=[{"role": "user", "content": f"question {number}"}])
            assert code == 200
            seen.add((headers["x-sgl-worker"], headers["x-sim-worker"]))
        assert {name for _, name in seen} == set(workers), seen
        assert all(url.startswith(f"http://{name}:") for url, name in seen), seen
        assert "sgl_router_plugin_decisions_total{plugin=\"cache_aware\"} 20" in ask(f"{router.metrics}/metrics")[2]

        # What `docker exec` does.
        listed = run(self.contained(["sgl-router", "plugin", "list", "--json", "--admin-url", router.admin]))
        assert [plugin["name"] for plugin in json.loads(listed)["plugins"]] == ["cache_aware"], listed
        health = services["router"]["healthcheck"]["test"]
        assert health[0] == "CMD" and "cache_aware" in run(self.contained([*health[1:], "--admin-url", router.admin])), health
        assert router.end() == 0

    # --- the image ---------------------------------------------------------------------

    def image_user(self):
        (user,) = self.dockerfile.stages[-1].all("USER")
        return tuple(int(part) for part in user.split(":"))

    def entrypoint(self):
        (entrypoint,) = self.dockerfile.stages[-1].all("ENTRYPOINT")
        return json.loads(entrypoint)

    def contained(self, command):
        """The command that runs `command` as a container of the image would."""
        user, user_group = self.image_user()
        root = shlex.quote(str(self.rootfs))
        surroundings = shlex.join(self.dockerfile.stages[-1].all("ENV"))
        (path,) = re.findall(r"PATH=(\S+)", surroundings)
        (self.rootfs / "proc").mkdir(exist_ok=True)
        (self.rootfs / "dev").mkdir(exist_ok=True)
        # In a name space of mounts that ends with the process. Each step takes the place of the one before,
        # so that the router is the process that was started.
        script = f"""set -e
            mount --bind {root} {root}
            mount -o remount,bind,ro {root}
            mount -t proc proc {root}/proc
            mount --rbind /dev {root}/dev
            mount -t tmpfs tmpfs {root}/tmp
            exec env -i {surroundings} "$(command -v chroot)" --userspec={user}:{user_group} --groups= {root} "$@"
        """
        program = str(pathlib.PurePath(path, command[0]))
        return ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", program, *command[1:]]


def compose_file():
    return yaml.safe_load((CONTAINER / "compose.yaml").read_text())


class Stage:
    def __init__(self, image):
        self.image, self.instructions = image, []

    def all(self, name):
        return [rest for instruction, rest in self.instructions if instruction == name]


class Dockerfile:
    """The stages of a Dockerfile with their instructions."""

    def __init__(self, text):
        self.stages = []
        text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
        for line in filter(None, map(str.strip, text.splitlines())):
            name, rest = line.split(None, 1)
            if name == "FROM":
                self.stages.append(Stage(rest.split()[0]))
            else:
                self.stages[-1].instructions.append((name, rest))
