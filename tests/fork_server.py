"""Starts commands of the project without the seconds of their imports: a process that has imported them forks itself.

`serve_forks` gives a folder with `bin/python`, to be used as a virtual environment: whatever that is told to run is run
by a fork of the server, with its arguments, folder, streams and exit status.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sudden_death import run_script

TESTS = Path(__file__).resolve().parent
PRELOADED = (
    "run_distillation",
    "compare_strategies",
    "layer_distillation.comparison.pictures",
)
READY = "ready"
CLIENT = """#!{python} -SE
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
message = json.dumps([sys.argv, os.getcwd(), dict(os.environ)])
socket.send_fds(connection, [message.encode()], [0, 1, 2])
sys.exit(int(connection.recv(16) or b"1"))
"""


@contextmanager
def serve_forks(folder: Path) -> Iterator[tuple[Path, subprocess.Popen]]:
    """The folder that stands for a virtual environment, and the server, whose children are the commands at work."""
    address = str(folder / "server")
    client = folder / "bin" / "python"
    client.parent.mkdir(parents=True)
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(TESTS.parent)}
    server = subprocess.Popen(
        [sys.executable, __file__, address], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert server.stdout.readline().strip() == READY
        yield folder, server
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # forks that are held at a moment too
        server.wait()


def serve(address: str) -> None:
    for name in PRELOADED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has answered leaves no zombie
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print(READY, flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Runs what is asked for in one more fork, whose end, by a kill too, is told to the client."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
    (python, *argv), folder, environment = json.loads(message)
    runner = os.fork()
    if runner == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.executable = python  # what it starts in turn is a fork too
        run_forked(argv)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(runner, 0)
    with suppress(BrokenPipeError):  # the client was killed as well
        connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


def run_forked(argv: list[str]) -> None:
    """Ends the process with the script's exit status, its streams flushed."""
    status = 1
    try:
        run_script(argv)
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
