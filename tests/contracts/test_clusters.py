"""The templates for clusters: linters accept them, and what they call is what there is."""

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from accelerate.commands.config import load_config_from_file

from tests.contracts.test_docs import COMMAND, ROOT

CLUSTERS = ROOT / "clusters"
KUBERNETES = sorted(CLUSTERS.glob("*.yaml"))
SLURM = CLUSTERS / "slurm-train.sh"
SCHEMAS = "1.37"


def resources(path):
    return list(yaml.safe_load_all(path.read_text()))


def pods(resource):
    """Return the template of each kind of pod that a resource begins."""
    spec = resource["spec"]
    groups = [spec.get("headGroupSpec"), *spec.get("workerGroupSpecs", ()), spec]
    return [group["template"] for group in groups if group and "template" in group]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_has_a_schema_for_it(path):
    for resource in resources(path):
        if resource["kind"] == "RayCluster":  # KubeRay's own; its pods are Kubernetes'
            assert resource["apiVersion"] == "ray.io/v1"
        else:
            kubernetes_validate.validate(resource, SCHEMAS, strict=True)
        for template in pods(resource):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
            kubernetes_validate.validate(pod, SCHEMAS, strict=True)


def test_the_schema_refuses_what_is_misspelt():
    _, job = resources(CLUSTERS / "kubernetes-train.yaml")
    job["spec"]["completionMod"] = job["spec"].pop("completionMode")
    with pytest.raises(kubernetes_validate.ValidationError, match="'completionMod' was unexpected"):
        kubernetes_validate.validate(job, SCHEMAS, strict=True)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_its_pleura_has_these_options(path):
    calls = [
        container["args"]
        for resource in resources(path)
        for template in pods(resource)
        for container in template["spec"]["containers"]
        if "args" in container
    ]
    assert calls
    for words in calls:
        verb, *rest = words[words.index("pleura") + 1 :] if "pleura" in words else words
        known = {option for each in COMMAND.commands[verb].params for option in each.opts}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known


def test_the_indexed_job_waits_for_all_its_pods_and_its_service_names_them():
    service, job = resources(CLUSTERS / "kubernetes-train.yaml")
    (template,) = pods(job)
    (train,) = template["spec"]["containers"]
    machines = job["spec"]["completions"]
    assert job["spec"]["parallelism"] == machines
    assert f"--nnodes={machines}" in train["args"]
    name, subdomain = job["metadata"]["name"], service["metadata"]["name"]
    assert template["spec"]["subdomain"] == subdomain
    assert f"--rdzv-endpoint={name}-0.{subdomain}:29500" in train["args"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}


def test_the_ray_job_waits_for_all_workers():
    cluster, job = resources(CLUSTERS / "kubernetes-predict.yaml")
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    (ray,) = workers["template"]["spec"]["containers"]
    (waits,) = job["spec"]["template"]["spec"]["initContainers"]
    env = {each["name"]: each.get("value") for each in waits["env"]}
    assert int(env["CPUS"]) == workers["replicas"] * int(ray["resources"]["limits"]["cpu"])
    assert env["CLUSTER"] == f"ray://{cluster['metadata']['name']}-head-svc:10001"
    compile(*waits["args"], "waits", "exec")


def test_the_slurm_script_starts_one_torchrun_on_each_machine(tmp_path):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, SLURM], check=True)
    for name, does in {"scontrol": "printf 'one\\ntwo\\n'", "srun": 'echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "one,two", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "123456"}
    slurm["SLURM_CPUS_PER_TASK"] = "64"
    found = subprocess.run(
        ["bash", SLURM, "prepared", "--out", "a model"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **slurm},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "--cpus-per-task=64 torchrun --nnodes 2 --nproc-per-node gpu" in found.stdout
    assert "--rdzv-endpoint one:23456 --rdzv-id 123456" in found.stdout
    assert found.stdout.endswith("-m pleura train prepared --out a model --resume\n")


@pytest.mark.parametrize(("name", "machines"), [("1x8", 1), ("4x8", 4)])
def test_accelerate_takes_its_configuration(name, machines):
    config = load_config_from_file(str(ROOT / "runs" / f"accelerate-{name}.yaml"))
    assert (config.num_machines, config.num_processes) == (machines, 8 * machines)
