"""Run a Python program under an audit hook that notes connections and processes; children run under it, too.

python -P guard.py LOG SCRIPT|python [-P] [-m MODULE] ARGUMENTS...
"""

import os
import runpy
import stat
import sys
import tempfile
from pathlib import Path


def main() -> None:
    log, command = os.path.abspath(sys.argv[1]), sys.argv[2:]
    stream = open(log, "a", buffering=1)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg"):
            print(f"guard: {event}", file=stream)
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
            print(f"guard: started {arguments[1]}", file=stream)

    real = os.environ.setdefault("GUARD_PYTHON", sys.executable)
    handle, wrapper = tempfile.mkstemp()  # what a child is started by: the same, under this guard
    with os.fdopen(handle, "w") as text:
        text.write(f'#!/bin/sh\nexec "{real}" -P "{os.path.abspath(__file__)}" "{log}" "{real}" "$@"\n')
    os.chmod(wrapper, stat.S_IRWXU)
    sys.executable = wrapper
    sys.addaudithook(note)
    if Path(command[0]).name.startswith("python"):
        command = [text for text in command[1:] if text != "-P"]
        module, sys.argv = command[1], ["-m", *command[2:]]
        sys.orig_argv = [real, "-P", *command]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
