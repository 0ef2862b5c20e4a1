"""The systemd unit, by `systemd-analyze`, and by running what it runs."""

import re
import shutil
import subprocess
import tomllib

from parts import DEPLOY, FREE_PORTS, Router, SimWorker, ask, chat, run

UNIT = DEPLOY / "systemd" / "sgl-router.service"
CONFIG = DEPLOY / "systemd" / "router.toml"
EXAMPLE = DEPLOY.parent / "docs" / "router.example.toml"
INSTALLED = "/usr/local/bin/sgl-router"
# What `systemd-analyze security` may find exposed, of 100: "OK" ends at 50. Its network and its not
# forbidding machine code are what the router is about.
MOST_EXPOSED = 15


class Checks:
    def __init__(self, stack, binary, directory):
        self.stack, self.binary, self.directory = stack, binary, directory
        self.text = UNIT.read_text()
        self.settings = settings(self.text)
        self.config = tomllib.loads(CONFIG.read_text())
        if not shutil.which("systemd-analyze"):
            raise RuntimeError("systemd-analyze was not found. Debian: apt-get install systemd")

    def check_systemd_knows_every_setting(self):
        # The program must be where the unit says, which is not here.
        unit = self.directory / UNIT.name
        unit.write_text(self.text.replace(INSTALLED, self.binary))
        said = run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit])
        # It warns of settings that it does not know, and succeeds.
        assert UNIT.name not in said, said

    def check_what_it_need_not_have_is_out_of_its_reach(self):
        run(["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT])

    def check_it_is_given_more_time_to_stop_than_the_router_takes(self):
        server = self.config.get("server", {})
        longest = server.get("shutdown_delay_secs", 0) + server.get("shutdown_timeout_secs", 60)
        assert int(self.settings["TimeoutStopSec"]) > longest

    def check_directories_that_the_configuration_names_are_those_that_it_may_write(self):
        assert self.config["state_dir"] == f"/var/lib/{self.settings['StateDirectory']}"
        assert self.config["aot_cache"] == f"/var/cache/{self.settings['CacheDirectory']}"
        logs = f"/var/log/{self.settings['LogsDirectory']}/"
        named = re.findall(r'^# (?:audit_)?file = "(.*)"$', EXAMPLE.read_text(), re.MULTILINE)
        assert named and all(name.startswith(logs) for name in named if name.startswith("/var/log")), named

    def check_who_is_not_of_this_machine_needs_a_setting_to_reach_it(self):
        assert self.config["server"]["host"] == "127.0.0.1"

    def check_its_commands_start_reload_and_stop_a_router(self):
        workers = [SimWorker(self.stack, [self.binary, "sim-worker"], self.directory / f"worker-{n}.log") for n in range(2)]
        config = self.directory / "router.toml"
        text = CONFIG.read_text()
        for name in ("state_dir", "aot_cache"):
            text = text.replace(self.config[name], str(self.directory / name))
        for entry, worker in zip(self.config["workers"], workers, strict=True):
            text = text.replace(entry["url"], worker.url)
        config.write_text(text)
        command = self.settings["ExecStart"].replace(INSTALLED, self.binary)
        token = self.directory / "admin-token"
        token.write_text("secret")
        # Where systemd puts what LoadCredential names.
        assert self.settings["LoadCredential"].startswith("admin-token:")
        command = command.replace("%d/admin-token", str(token))
        command = command.replace(f"/etc/{self.settings['ConfigurationDirectory']}/router.toml", str(config)).split()
        router = Router(self.stack, command + FREE_PORTS, self.directory / "router.log", token="secret")
        router.wait_until_ready(workers=2)
        assert ask(f"{router.admin}/workers")[0] == 401, "operators show the token"
        assert chat(router.url)[0] == 200

        config.write_text(text.replace(f'[[workers]]\nurl = "{workers[1].url}"', ""))
        reload = self.settings["ExecReload"].replace("$MAINPID", str(router.process.pid))
        subprocess.run(reload.split(), check=True)
        router.says("reloaded the configuration")
        assert router.end() == 0


def settings(text):
    """The settings of a unit; those that are repeated are not asked for here."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
