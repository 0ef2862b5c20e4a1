"""Alerts and dashboard, by promtool, and by a real Prometheus that scrapes a router under load."""

import json
import re
import shutil
import sys
import urllib.parse

import yaml
from parts import DEPLOY, FREE_PORTS, ROOT, Router, SimWorker, ask, chat, found, run, start, status, stop, wait_for

MONITORING = DEPLOY / "monitoring"
ALERT_TESTS = ROOT / "tests" / "deploy" / "alerts_test.yaml"
# Requests a second.
RATE = 60
# What Grafana puts in: everything, and the shortest time that holds a few scrapes of one a second.
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "10s"}


class Checks:
    def __init__(self, stack, binary, directory):
        for program in ("prometheus", "promtool"):
            if not shutil.which(program):
                raise RuntimeError(f"{program} was not found. Debian: apt-get install prometheus")
        self.stack, self.binary, self.directory = stack, binary, directory
        self.alerts = [rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
        self.dashboard = json.loads((MONITORING / "grafana.json").read_text())

    # --- without a router --------------------------------------------------------------

    def check_promtool_takes_rules_and_configuration(self):
        run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", MONITORING / "alerts.yaml"])
        run(["promtool", "check", "config", MONITORING / "prometheus.yaml"])

    def check_every_alert_fires_when_it_should_and_not_before(self):
        for file in (ALERT_TESTS, MONITORING / "alerts.yaml"):
            shutil.copy(file, self.directory)
        run(["promtool", "test", "rules", self.directory / ALERT_TESTS.name])
        cases = [case for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
        firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
        assert firing == {alert["alert"] for alert in self.alerts}, "an alert has no case in which it fires"

    def check_every_alert_says_how_bad_it_is_and_what_it_means(self):
        for alert in self.alerts:
            assert alert["labels"]["severity"] in ("critical", "warning", "info"), alert
            assert alert["annotations"].keys() == {"summary", "description"}, alert

    def check_what_is_made_of_other_files_is_up_to_date(self):
        run([sys.executable, "-B", MONITORING / "make.py", "--check"])

    def check_alerts_and_dashboard_name_metrics_that_are_documented(self):
        documented = set(re.findall(r"^\| `(sgl_router_\w+)` \| ", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))
        assert len(documented) > 50, documented
        queries = [alert["expr"] for alert in self.alerts] + [query for _, query in self.queries()]
        named = {re.sub("_bucket$", "", name) for query in queries for name in re.findall(r"sgl_router_\w+", query)}
        assert named and named <= documented, named - documented

    def check_panels_lie_beside_each_other_and_have_their_texts(self):
        taken = {}
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
            for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
                assert cell not in taken, (panel["title"], taken[cell])
                taken[cell] = panel["title"]
            assert panel["type"] == "row" or panel["description"] and panel["targets"], panel["title"]
        numbers = [panel["id"] for panel in self.dashboard["panels"]]
        assert len(numbers) == len(set(numbers))

    # --- with one ----------------------------------------------------------------------

    def check_every_query_of_the_dashboard_shows_something_of_a_router_under_load(self):
        self.start_fleet()
        self.load = start(
            self.stack,
            [self.binary, "load", "--url", self.router.url, "--rate", str(RATE), "--duration", "120s", "--stream", "--drain", "0s"],
            self.directory / "load.log",
        )
        # What a router under load has, too: a model that nobody serves, a path that there is not, and answers
        # that tell their usage, as streams do not unless they are asked for it.
        assert chat(self.router.url, model="nobody-serves-this")[0] == 404
        assert ask(f"{self.router.url}/nothing", {})[0] == 404
        assert chat(self.router.url)[0] == 200
        silent = {}

        def all_show_something():
            silent.clear()
            silent.update({title: query for title, query in self.queries() if not numbers(self.query(query))})
            return not silent

        try:
            wait_for("a number for each query", all_show_something)
        except TimeoutError:
            raise AssertionError("\n".join(f"{title} shows nothing: {query}" for title, query in silent.items())) from None

    def check_queries_show_what_is_so(self):
        now = {panel["title"]: panel["targets"][0]["expr"] for panel in self.dashboard["panels"] if panel["type"] == "stat"}
        # It settles when the window of rates lies within the load.
        wait_for("the rate of requests", lambda: RATE / 2 < value(self.query(now["Requests"])) < 2 * RATE)
        assert value(self.query(now["Workers that may be chosen"])) == 1
        assert value(self.query(now["Answers of 5xx"])) == 0
        assert 0 < value(self.query(now["First byte, p99"])) < 60

    def check_variables_of_the_dashboard_have_values(self):
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
            found_ = {one["metric"][label] for one in self.query(series)}
            expected = {"job": "sgl-router", "instance": self.router.metrics.removeprefix("http://")}
            assert found_ == {expected[label]}, (variable["name"], found_)

    def check_prometheus_evaluates_all_alerts_and_none_begins_while_all_is_well(self):
        rules = wait_for("an evaluation of all alerts", self.evaluated)
        assert {rule["name"] for rule in rules} == {alert["alert"] for alert in self.alerts}
        assert not [rule["lastError"] for rule in rules if rule["health"] != "ok"]
        # How fast this machine is decides nothing here.
        begun = [rule["name"] for rule in rules if rule["alerts"] and rule["name"] not in ("SglRouterPolicySlow", "SglRouterWorkerSilent", "SglRouterSpansLost")]
        assert not begun, begun

    def check_alerts_begin_when_workers_die(self):
        for worker in self.workers:
            stop(worker.process)
        expected = {"SglRouterWorkerDown", "SglRouterNoWorker", "SglRouterErrors"}

        def pending():
            return {rule["name"] for rule in self.evaluated() or [] if rule["alerts"]}

        wait_for(f"the beginning of {expected}", lambda: expected <= pending())
        assert "SglRouterDown" not in pending()
        stop(self.load)
        stop(self.router.process)
        wait_for("the beginning of SglRouterDown", lambda: "SglRouterDown" in pending())

    # --- the fleet ---------------------------------------------------------------------

    def start_fleet(self):
        sim = [self.binary, "sim-worker"]
        engine = ["--engine", "vllm", "--kv-events", "auto"]
        self.workers = [SimWorker(self.stack, sim + engine, self.directory / f"worker-{n}.log") for n in range(2)]
        command = [self.binary, "serve", *FREE_PORTS, "--policy", "cache_aware", "--health-check-interval-secs", "1", "--token-metrics"]
        # Spans have somewhere to go only if somebody listens: these are lost, and counted.
        command += ["--access-log", self.directory / "access.log", "--otlp-traces-endpoint", "http://127.0.0.1:9/v1/traces"]
        # A slow machine must fail no check: nothing falls back.
        config = self.directory / "router.toml"
        config.write_text('[[plugins]]\nname = "cache_aware"\nmax_execution_time_ms = 10000\n')
        command += ["--config", config, "--worker-urls", *(worker.url for worker in self.workers)]
        # One certificate, for workers that would ask for it, so that there is something to tell of it.
        certificate, key = self.directory / "router.crt", self.directory / "router.key"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=router"]
        run([*made, "-days", "365", "-out", certificate, "-keyout", key])
        command += ["--client-cert-path", certificate, "--client-key-path", key]
        self.router = Router(self.stack, command, self.directory / "router.log")
        self.router.wait_until_ready(workers=2)
        self.start_prometheus()

    def start_prometheus(self):
        """Prometheus with the configuration of deploy/, but for the address and the pace."""
        text = (MONITORING / "prometheus.yaml").read_text()
        for old, new in (("127.0.0.1:29000", self.router.metrics.removeprefix("http://")), ("15s", "1s")):
            assert old in text, old
            text = text.replace(old, new)
        config = self.directory / "prometheus.yaml"
        config.write_text(text)
        shutil.copy(MONITORING / "alerts.yaml", self.directory)
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.directory / 'tsdb'}"]
        command += ["--web.listen-address=127.0.0.1:0", "--log.format=json"]
        log = self.directory / "prometheus.log"
        process = start(self.stack, command, log)
        address = wait_for("Prometheus", lambda: found(log, r'"address":"(127\.0\.0\.1:[1-9]\d*)"', process))
        self.prometheus = f"http://{address}"
        wait_for("Prometheus' being ready", lambda: status(f"{self.prometheus}/-/ready") == 200)

    def queries(self):
        """All queries of the dashboard, as Grafana would ask them, with the titles of their panels."""
        for panel in self.dashboard["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for name, value_ in VARIABLES.items():
                    query = query.replace(name, value_)
                assert "$" not in query, query
                yield f"{panel['title']} {target['refId']}", query

    def query(self, query):
        for name, value_ in VARIABLES.items():
            query = query.replace(name, value_)
        code, _, text = ask(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        assert code == 200, f"{query}: {text}"
        return json.loads(text)["data"]["result"]

    def evaluated(self):
        """All rules, once each was evaluated."""
        groups = json.loads(ask(f"{self.prometheus}/api/v1/rules")[2])["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None


def numbers(series):
    """The values that are numbers."""
    return [float(one["value"][1]) for one in series if one["value"][1] != "NaN"]


def value(series):
    """The only value; NaN if there is none."""
    (number,) = numbers(series) or [float("nan")]
    return number
