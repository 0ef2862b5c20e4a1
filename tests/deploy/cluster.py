"""The manifests for Kubernetes, by kubectl, by the schemas of its API, and by running what they run."""

import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import tomllib

import kubernetes_validate
import yaml
from parts import DEPLOY, FREE_PORTS, ROOT, Router, SimWorker, chat, run, status, wait_for

KUBERNETES = DEPLOY / "kubernetes"
ROUTER = KUBERNETES / "router"
WORKERS = KUBERNETES / "simulated-workers"
WITH_OPERATOR = KUBERNETES / "with-prometheus-operator"
# The one that the manifests are written for.
VERSION = "1.37"
KUBECTL = pathlib.Path(sys.executable).parent / "kubectl"

# What the double below says that a cluster has: name, kind, whether it lives in a namespace.
RESOURCES = {
    "v1": [("configmaps", "ConfigMap"), ("services", "Service"), ("serviceaccounts", "ServiceAccount"), ("namespaces", "Namespace")],
    "apps/v1": [("deployments", "Deployment"), ("statefulsets", "StatefulSet")],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
    "rbac.authorization.k8s.io/v1": [("roles", "Role"), ("rolebindings", "RoleBinding")],
    "monitoring.coreos.com/v1": [("servicemonitors", "ServiceMonitor"), ("prometheusrules", "PrometheusRule")],
}
# Schemas of these come with Prometheus' operator, not with Kubernetes.
FOREIGN = ("ServiceMonitor", "PrometheusRule")


class Checks:
    def __init__(self, stack, binary, directory):
        self.stack, self.binary, self.directory = stack, binary, directory
        self.router = objects(ROUTER)
        self.workers = objects(WORKERS)
        self.with_operator = objects(WITH_OPERATOR)
        self.deployment = the(self.router, "Deployment")
        self.pod = self.deployment["spec"]["template"]
        (self.container,) = self.pod["spec"]["containers"]
        self.config = tomllib.loads((ROUTER / "router.toml").read_text())
        self.defaults = tomllib.loads((ROOT / "docs" / "router.example.toml").read_text())

    def check_every_object_has_the_form_of_its_kind(self):
        checked = [one for one in self.with_operator + self.workers if one["kind"] not in FOREIGN]
        assert len(checked) == len(self.router) + len(self.workers)
        for one in checked:
            kubernetes_validate.validate(one, VERSION, strict=True)

    def check_kubectl_takes_every_object(self):
        server = start_double(self.stack)
        for folder, expected in ((ROUTER, self.router), (WORKERS, self.workers), (WITH_OPERATOR, self.with_operator)):
            said = apply_dry(server, folder, self.directory)
            assert said.count("created (dry run)") == len(expected) == len(said.splitlines()), said

    def check_services_lead_to_the_pods_and_their_ports(self):
        for objects_, owner in ((self.router, self.deployment), (self.workers, the(self.workers, "StatefulSet"))):
            template = owner["spec"]["template"]
            ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
            assert picks(owner["spec"]["selector"]["matchLabels"], template), owner["spec"]["selector"]
            services = [one for one in objects_ if one["kind"] == "Service"]
            assert services
            for service in services:
                assert picks(service["spec"]["selector"], template), service
                for port in service["spec"]["ports"]:
                    target = port.get("targetPort", port["port"])
                    assert target in ports or target in ports.values(), (port, ports)

    def check_ports_are_those_that_the_router_listens_at(self):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        for name, section in (("http", "server"), ("metrics", "metrics")):
            listens = self.config.get(section, {}).get("port", self.defaults[section]["port"])
            assert ports[name] == listens, (name, ports, listens)
            assert self.config[section]["host"] == "0.0.0.0", "a pod's loopback is its own"
        assert self.pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])

    def check_containers_have_no_more_rights_than_they_need(self):
        for template in (self.pod, the(self.workers, "StatefulSet")["spec"]["template"]):
            pod, (container,) = template["spec"]["securityContext"], template["spec"]["containers"]
            own = container["securityContext"]
            assert pod["runAsNonRoot"] is True and pod["runAsUser"] == 65532, pod
            assert pod["seccompProfile"]["type"] == "RuntimeDefault", pod
            assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False, own
            assert own["capabilities"]["drop"] == ["ALL"], own
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"], container

    def check_rights_go_to_the_account_that_the_pods_have(self):
        account = the(self.router, "ServiceAccount")["metadata"]["name"]
        assert self.pod["spec"]["serviceAccountName"] == account
        role, binding = the(self.router, "Role"), the(self.router, "RoleBinding")
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        (subject,) = binding["subjects"]
        assert (subject["kind"], subject["name"]) == ("ServiceAccount", account), subject
        (rule,) = role["rules"]
        assert set(rule["resources"]) == {"pods"} and set(rule["verbs"]) == {"get", "list", "watch"}, rule

    def check_nodes_can_be_emptied_and_one_router_stays(self):
        budget = the(self.router, "PodDisruptionBudget")["spec"]
        assert picks(budget["selector"]["matchLabels"], self.pod), budget
        assert budget["maxUnavailable"] < self.deployment["spec"]["replicas"], budget

    def check_a_router_that_stops_has_the_time_that_it_takes(self):
        server, probe = self.config["server"], self.container["readinessProbe"]
        seen_after = probe["periodSeconds"] * probe["failureThreshold"]
        assert server["shutdown_delay_secs"] > seen_after, (server, probe)
        longest = server["shutdown_delay_secs"] + server["shutdown_timeout_secs"]
        assert self.pod["spec"]["terminationGracePeriodSeconds"] > longest, server

    def check_the_pods_have_the_configuration(self):
        map_ = the(self.router, "ConfigMap")
        assert tomllib.loads(map_["data"]["router.toml"]) == self.config
        volumes = {volume["name"]: volume for volume in self.pod["spec"]["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in self.container["volumeMounts"]}
        assert volumes[mounts["/etc/sgl-router"]]["configMap"]["name"] == map_["metadata"]["name"], volumes
        assert "emptyDir" in volumes[mounts["/tmp"]], volumes

    def check_the_router_looks_for_the_simulated_workers(self):
        pods, found = self.config["sources"]["kubernetes"], the(self.workers, "StatefulSet")["spec"]["template"]
        assert pods["enabled"] is True and picks(pods["selector"], found), (pods, found["metadata"])
        container = found["spec"]["containers"][0]
        assert pods["port"] in [port["containerPort"] for port in container["ports"]], (pods, container)
        assert f"--port={pods['port']}" in container["args"], container
        # No pod of its own is taken for a worker, and it may ask for the others.
        assert not picks(pods["selector"], self.pod), self.pod["metadata"]
        assert "automountServiceAccountToken" not in self.pod["spec"], self.pod["spec"]

    def check_prometheus_operator_finds_the_routers(self):
        monitor = the(self.with_operator, "ServiceMonitor")["spec"]
        found = [one for one in self.with_operator if one["kind"] == "Service" and picks(monitor["selector"]["matchLabels"], one)]
        (service,) = found
        (endpoint,) = monitor["endpoints"]
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]], (endpoint, service)
        # What alerts and dashboard call the job.
        assert service["metadata"]["labels"][monitor["jobLabel"]] == "sgl-router", service
        alerts = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())
        assert the(self.with_operator, "PrometheusRule")["spec"] == alerts

    def check_probes_ask_for_what_a_router_with_this_configuration_answers(self):
        worker = SimWorker(self.stack, [self.binary, "sim-worker"], self.directory / "worker.log")
        file = ROUTER / "router.toml"
        # The container has no command of its own: the image's is used, with this file.
        assert "command" not in self.container and "args" not in self.container
        command = [self.binary, "serve", "--config", file, *FREE_PORTS, "--worker-urls", worker.url]
        router = Router(self.stack, command, self.directory / "router.log")
        router.wait_until_ready()
        probes = {name: self.container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        assert all(self.container[f"{name}Probe"]["httpGet"]["port"] == "http" for name in probes)
        answers = {name: status(router.url + path) for name, path in probes.items()}
        assert answers == {"startup": 200, "liveness": 200, "readiness": 200}, answers
        assert chat(router.url)[0] == 200

        # Stopping: not ready, alive, and requests are served until the service has left it out.
        router.process.send_signal(signal.SIGTERM)
        wait_for("the end of readiness", lambda: status(router.url + probes["readiness"]) == 503)
        assert status(router.url + probes["liveness"]) == 200
        assert chat(router.url)[0] == 200
        router.process.send_signal(signal.SIGTERM)
        router.process.wait(60)

    def check_a_router_whose_workers_do_not_answer_is_alive_and_not_ready(self):
        # Names that nobody has: .invalid is reserved for that.
        command = [self.binary, "serve", "--config", ROUTER / "router.toml", *FREE_PORTS]
        command += ["--worker-urls", "http://engine-0.invalid:8000"]
        router = Router(self.stack, command, self.directory / "lonely.log")
        paths = [self.container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")]
        assert [status(router.url + path) for path in paths] == [200, 503]


# --- objects -------------------------------------------------------------------------------


def objects(folder):
    """What kubectl makes of a folder with a kustomization."""
    return list(yaml.safe_load_all(run([KUBECTL, "kustomize", folder])))


def the(objects_, kind):
    """The only object of a kind."""
    (one,) = [one for one in objects_ if one["kind"] == kind]
    return one


def picks(selector, labelled):
    labels = labelled["metadata"].get("labels", {})
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


# --- a cluster's API, as far as a dry run asks -----------------------------------------------


class Double(http.server.BaseHTTPRequestHandler):
    """Says which kinds of objects there are, and that none of them is there yet."""

    def do_GET(self):
        path = self.path.partition("?")[0].strip("/")
        version = path.removeprefix("apis/").removeprefix("api/")
        if path == "api":
            self.answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        elif path == "apis":
            self.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name) for name in RESOURCES if "/" in name]})
        elif version in RESOURCES:
            resources = [resource(name, kind) for name, kind in RESOURCES[version]]
            self.answer(200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
        elif path == "api/v1/namespaces/default":
            self.answer(200, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
        else:
            self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def group(version):
    entry = {"groupVersion": version, "version": version.split("/")[1]}
    return {"name": version.split("/")[0], "versions": [entry], "preferredVersion": entry}


def resource(name, kind):
    verbs = ["create", "get", "list", "patch", "watch"]
    return {"name": name, "singularName": kind.lower(), "namespaced": kind != "Namespace", "kind": kind, "verbs": verbs}


def start_double(stack):
    """The URL of a double that ends with `stack`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Double)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def apply_dry(server, folder, directory):
    """What `kubectl apply -k FOLDER` would do. The schemas are checked elsewhere: the double has none."""
    # No configuration of whoever runs this, and no cache of an earlier double.
    surroundings = os.environ | {"KUBECONFIG": os.devnull, "KUBECACHEDIR": str(directory / "kubectl-cache")}
    command = [KUBECTL, "--server", server, "apply", "-k", folder, "--dry-run=client", "--validate=false"]
    return run(command, env=surroundings)
