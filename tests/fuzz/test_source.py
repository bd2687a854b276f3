"""Untrusted files are data: nothing in the product turns text or bytes into code or objects, or leaves files about."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfmodel

ROOT = Path(perfmodel.__file__).parents[1]
FILES = sorted(path for part in ("kernels", "perfmodel", "plots") for path in (ROOT / part).rglob("*.py"))

CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "yaml.load", "np.load",
    "numpy.load", "np.fromfile", "numpy.fromfile", "subprocess.getoutput", "subprocess.getstatusoutput",
    "importlib.import_module",
}  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "subprocess", "joblib", "telnetlib",
           "xml", "code", "pty"}  # fmt: skip
KEYWORDS = {("shell", True), ("allow_pickle", True)}

ALLOWED: dict[tuple[str, str], str] = {}
"""Part of a path and what is found there, with the reason."""


def _found(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield node.lineno, str(node.module)
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in CALLS:
                yield node.lineno, ast.unparse(node.func)
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in KEYWORDS:
                    yield node.lineno, f"{keyword.arg}={keyword.value.value}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_comes_from_data(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    for line, what in _found(ast.parse(path.read_text())):
        assert any(part in where and what == name for part, name in ALLOWED), f"{where}:{line}: {what}"


def test_what_is_forbidden_is_found() -> None:
    source = (
        "import pickle\nfrom subprocess import run\nrun('x', shell=True)\nnp.load('x', allow_pickle=True)\neval('x')\n"
    )
    assert [what for _, what in _found(ast.parse(source))] == [
        "pickle", "subprocess", "shell=True", "np.load", "allow_pickle=True", "eval",
    ]  # fmt: skip
