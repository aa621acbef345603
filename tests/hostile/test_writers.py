"""One module writes files and one starts processes: a search of the package's syntax for any other."""

from __future__ import annotations

import ast
from pathlib import Path

import synthgen

PACKAGE = Path(synthgen.__file__).parent
WRITERS = {
    *("write_text", "write_bytes", "touch", "mkdir", "makedirs", "chmod", "renames", "link"),
    *("symlink", "symlink_to", "hardlink_to", "mkfifo", "mknod", "truncate", "copyfile", "copy2", "copytree"),
    *("move", "copymode", "savez", "savez_compressed", "savetxt", "tofile", "memmap", "save_file", "mkstemp"),
    *("mkdtemp", "NamedTemporaryFile", "SpooledTemporaryFile", "write_dataset", "write_feather", "write_csv"),
    *("to_pickle", "to_feather", "to_excel", "to_hdf", "to_sql", "save_pretrained", "export_chrome_trace"),
}
"""Calls that write to a path."""
STREAMED = {
    *("to_csv", "to_parquet", "to_html", "write_table", "ParquetWriter", "ZipFile", "GzipFile"),
    *("BZ2File", "LZMAFile", "savefig", "dcmwrite", "save_as", "save", "dump", "write_array", "PythonFile"),
}
"""Calls that write to a path or to a stream: the package gives them a stream."""
STREAMS = {"stream", "raw", "buffer", "target", "member"}
FOLDERS = {"folder", "place", "partial", "path"}
"""What a model's own ``save`` takes: it writes by `synthgen.generators.model_files`."""
STARTERS = ("Popen", "run", "call", "system", "popen", "fork", "forkpty", "execv", "execve", "posix_spawn")
STARTING = {"subprocess", "multiprocessing", "pty", "joblib", "torch.multiprocessing"}
ALLOWED = {
    ("safe_files.py", "*"),  # the module that writes
    ("child_processes.py", "subprocess"),  # the module that starts processes
    ("worker.py", "subprocess"),  # a type
    ("app.py", "os.open"),  # /dev/null for a closed pipe
    ("run_folder.py", "chmod"),  # 0700 for the folder `internal` that was checked
    ("lightning_trainer.py", "save_checkpoint"),  # Lightning's, into a folder of `safe_files`
}


def writers(text: str, name: str) -> list[str]:
    """Return what in a module's text writes to a path or starts a process."""
    tree, found = ast.parse(text), []
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = {n.name for node in imports if (node.module or "").startswith("synthgen") for n in node.names}
    ours |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    modules = {node.module or "" for node in imports}
    modules |= {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    pools = {n.name for node in imports if node.module == "concurrent.futures" for n in node.names}
    found += sorted(modules & STARTING | pools & {"ProcessPoolExecutor"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            what = _written(node, ours)
            found += [what] if what else []
    return [what for what in found if (name, what) not in ALLOWED and (name, "*") not in ALLOWED]


def _written(node: ast.Call, ours: set[str]) -> str:
    """Return the name of a call that writes to a path or starts a process, or nothing."""
    is_method = isinstance(node.func, ast.Attribute)
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    owner = getattr(getattr(node.func, "value", None), "id", "")
    if (called in ours and not is_method) or owner in ours:  # a function or module of the package
        return ""
    if owner == "os" and called in ("open", "replace", *STARTERS):
        return f"os.{called}"
    if called in WRITERS or called == "save_checkpoint" or (owner, called) == ("shutil", "copy"):
        return called
    if called in ("replace", "rename") and not node.keywords:
        is_path = len(node.args) == 1 or owner in ("os", "shutil")
        return called if is_path and owner != "dataclasses" else ""
    if called == "open" and owner == "archive":  # a member of an archive that is itself a stream
        return ""
    if called == "open" and _writes(node, method=is_method):
        return called
    return called if called in STREAMED and not _streams(node, called) else ""


def _writes(node: ast.Call, *, method: bool) -> bool:
    """Whether `open` is called with a mode that writes, or one that is not known."""
    modes = [word.value for word in node.keywords if word.arg == "mode"]
    modes += node.args[:2] if method else node.args[1:2]
    known = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    unknown = not method and bool(modes) and not known
    return unknown or any(set(text) <= set("rwxabt+") and bool(set(text) & set("wxa+")) for text in known)


def _streams(node: ast.Call, called: str) -> bool:
    """Whether a call writes into a stream, reads, or returns text."""
    words = {word.arg: word.value for word in node.keywords}
    first = words.get("fileobj") or (node.args[0] if node.args else None)
    if called in ("write_table", "dump") and len(node.args) > 1:
        first = node.args[1]
    if called == "ZipFile" and len(node.args) < 2 and "mode" not in words:
        return True  # it reads
    if first is None:
        return called in ("to_csv", "to_html") and not words.keys() & {"path_or_buf", "buf"}  # returns text
    if called == "save" and isinstance(first, ast.Dict | ast.DictComp):
        return True  # safetensors return bytes
    inner = first.func if isinstance(first, ast.Call) else first
    models = FOLDERS if called == "save" and len(node.args) == 1 and not words else set()
    return isinstance(inner, ast.Name) and inner.id in STREAMS | models


def test_no_other_module_writes_to_a_path_or_starts_a_process() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    found = {str(path): writers(path.read_text(encoding="utf-8"), path.name) for path in modules}
    assert len(found) > 300
    assert not {path: calls for path, calls in found.items() if calls}


def test_the_search_finds() -> None:
    for text in (
        "open(path, 'w')",
        "open(path, mode='ab')",
        "open(path, mode)",
        "path.open('xb')",
        "gzip.open(path, 'wt')",
        "os.open(path, os.O_WRONLY)",
        "path.write_text(text)",
        "frame.to_csv(path, index=False)",
        "frame.to_csv(path_or_buf=path)",
        "frame.to_parquet(path)",
        "frame.to_parquet(folder / 'x')",
        "parquet.write_table(table, path)",
        "np.savez(path, a=a)",
        "np.save(place_of, a)",
        "image.save(where)",
        "safetensors.numpy.save_file(tensors, path)",
        "torch.save(state, path)",
        "json.dump(content, open(path, 'w'))",
        "partial.replace(path)",
        "os.replace(a, b)",
        "os.rename(a, b)",
        "shutil.copyfile(a, b)",
        "shutil.copy(a, b)",
        "zipfile.ZipFile(path, 'w')",
        "figure.savefig(path)",
        "tempfile.mkstemp()",
        "import subprocess",
        "from concurrent.futures import ProcessPoolExecutor",
        "os.system('ls')",
        "trainer.save_checkpoint(path)",
        "path.mkdir()",
        "path.chmod(0o644)",
    ):
        assert writers(text, "other.py"), text


def test_the_search_lets_readers_and_streams_pass() -> None:
    for text in (
        "open(path)",
        "path.open('rb')",
        "text.replace('a', 'b')",
        "dataclasses.replace(value, a=1)",
        "frame.to_csv(index=False)",
        "zipfile.ZipFile(path)",
        "image.save(buffer, format='PNG')",
        "figure.savefig(stream)",
        "parquet.write_table(table, stream)",
    ):
        assert writers(text, "other.py") == [], text
