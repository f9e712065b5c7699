"""What takes, returns or holds arrays says their shapes, so that nobody has to guess them.

It says so in its docstring, or in the text below a name for all such arrays, as of ``Floats =
NDArray[np.float64]``. And what a docstring lists is there.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pleura

SOURCE = Path(pleura.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): ast.parse(
        path.read_text(encoding="utf-8")
    )
    for path in sorted(SOURCE.rglob("*.py"))
}
ARRAYS = {"NDArray", "ArrayLike", "Tensor"}
SIDE = r"[\w.]+(?: ?[-+*/] ?[\w.]+)*"
SHAPE = re.compile(
    rf"``\((?:{SIDE}(?:,\s+{SIDE})+|{SIDE},|\.\.\.)\)|\b(?:shapes?|scalars?)\b", re.IGNORECASE
)
"""``(rows, columns)``, ``(n,)``, ``(1 + resamples, images)``, ``(...)``, or the word."""

Definition = ast.ClassDef | ast.FunctionDef


def names_in(node: ast.AST | None) -> set[str]:
    """Return the names in an annotation: of ``dict[str, torch.Tensor]``, dict, str and Tensor."""
    return set(re.findall(r"\w+(?!\w|\.)", ast.unparse(node))) if node else set()


def silent_names(tree: ast.Module) -> set[str]:
    """Return a module's own names of arrays that say no shape."""
    return {
        name
        for node, below in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True)
        if isinstance(node, ast.Assign) and ARRAYS & names_in(node.value)
        if "Callable" not in names_in(node.value) and not SHAPE.search(ast.unparse(below))
        for name in names_in(node.targets[0])
    }


SILENT = {module: silent_names(tree) for module, tree in MODULES.items()}


@cache
def arrays_of(module: str) -> set[str]:
    """Return what arrays are called in a module that do not say their shape themselves."""
    imported = {
        name.asname or name.name
        for node in MODULES[module].body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.name in SILENT.get(node.module or "", ())
    }
    return ARRAYS | SILENT[module] | imported


def public(node: ast.Module | ast.ClassDef, owner: str) -> Iterator[tuple[str, Definition]]:
    """Yield the public classes, functions and methods of a module, each with its full name."""
    for one in node.body:
        if isinstance(one, Definition) and not one.name.startswith("_"):
            yield f"{owner}.{one.name}", one
            if isinstance(one, ast.ClassDef):
                yield from public(one, f"{owner}.{one.name}")


def types_of(node: Definition) -> set[str]:
    """Return the names in the annotations of a function, or of a class's fields and making."""
    if isinstance(node, ast.FunctionDef):
        own = [*node.args.args, *node.args.kwonlyargs]
        return names_in(node.returns).union(*(names_in(one.annotation) for one in own))
    makes = [one for one in node.body if getattr(one, "name", "") == "__init__"]
    fields = [one.annotation for one in node.body if isinstance(one, ast.AnnAssign)]
    return set().union(*map(types_of, makes), *map(names_in, fields))


def listed_in(docstring: str) -> set[str]:
    """Return the names that a docstring explains one by one."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?: .*\n|\n)+)", docstring + "\n", re.MULTILINE)
    return set(re.findall(r"^ {4}\**(\w+):", "".join(sections), re.MULTILINE))


def names_of(node: Definition) -> set[str]:
    """Return what a function takes, or what a class takes, holds and can be asked."""
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.arg):
            found.add(one.arg)
        elif isinstance(one, ast.FunctionDef):
            found.add(one.name)
        elif isinstance(one, ast.AnnAssign | ast.Assign):
            targets = [one.target] if isinstance(one, ast.AnnAssign) else one.targets
            found |= {name for target in targets for name in names_in(target)}
    return found


def test_what_has_to_do_with_arrays_says_their_shapes():
    silent = [
        name
        for module, tree in MODULES.items()
        for name, node in public(tree, module)
        if types_of(node) & arrays_of(module) and not SHAPE.search(ast.get_docstring(node) or "")
    ]
    assert silent == []


def test_what_a_docstring_lists_is_there():
    stale = {
        name: missing
        for module, tree in MODULES.items()
        for name, node in public(tree, module)
        if (listed := listed_in(ast.get_docstring(node) or ""))
        if (missing := listed - names_of(node))
    }
    assert stale == {}
