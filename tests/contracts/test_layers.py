"""How the code hangs together; the direction of imports itself is import-linter's (make lint)."""

import ast
import re
from pathlib import Path

import pytest

import pleura

SOURCE = Path(pleura.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
TOP = {"cli", "stages", "training", "evaluation", "inference", "models", "data", "formats"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_every_package_has_its_place():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == TOP
    files = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert files == {"config", "errors", "metrics"}


def test_no_module_is_named_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "core", "base"}
    assert not [name(path) for path in MODULES if path.stem in vague]
    assert not [name(path) for path in SOURCE.rglob("*") if path.is_dir() and path.name in vague]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_runs_what_a_file_says(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = {alias.name.split(".")[0] for alias in node.names}
            imported.add((getattr(node, "module", None) or "").split(".")[0])
            assert not imported & {"pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__", "os.system"}
            assert not re.fullmatch(r"(yaml|pickle)\.load", called)
            if called == "torch.load":
                # One package's weights are a torch archive; its digest is compared before.
                assert name(path) == "models/efficientnet.py"
                allowed = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert allowed.get("weights_only") == "True"
            if called == "np.load":
                allowed = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert allowed.get("allow_pickle") == "False"
            shell = [word for word in node.keywords if word.arg == "shell"]
            assert not shell


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_wildcards_and_no_relative_imports(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)
            assert node.level == 0


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_commands_print(path):
    if path.parent.name == "cli":
        return
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    called = {ast.unparse(call.func) for call in calls}
    assert not called & {"print", "sys.exit", "warnings.warn", "sys.stdout.write", "logging.info"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_opens_a_connection(path):
    nets = {"socket", "urllib", "requests", "http", "httpx", "ftplib", "huggingface_hub"}
    if name(path) != "models/backbone.py":  # where network.backbone may name a model of the hub
        nets.add("transformers")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & nets
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in nets


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_error_on_purpose_has_a_message(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            raised = ast.unparse(node.exc.func)
            if raised.endswith("Error"):
                assert node.exc.args, f"{name(path)}:{node.lineno} raises {raised} without a word"
