"""A JupyterLab server in a folder of its own, and the Chromium that opens it. Needs the extra `lab`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PATIENCE = 60  # seconds until the server answers

CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--force-color-profile=srgb"),
]


def find_chromium() -> str | None:
    """The browser that is installed here, if any."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class LabServer:
    """JupyterLab on a free loopback port, with settings and data of its own.

    Parameters
    ----------
    folder : Path
        Its notebooks, settings and everything it writes are below.

    Raises
    ------
    ChildProcessError
        If the server does not start; with the end of its log.
    """

    def __init__(self, folder: Path) -> None:
        self.notebooks = folder / "notebooks"
        self.folder = folder
        self._token = secrets.token_hex(16)
        self.notebooks.mkdir(parents=True)
        self.setting("apputils-extension/notification", fetchNews="false", checkForUpdates=False)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = self._start(port)

    def setting(self, plugin: str, scope: str = "@jupyterlab", **values: object) -> None:
        """Set what a user would set in JupyterLab's settings editor; pages opened from now on have it."""
        file = self.folder / "settings" / scope / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), "utf-8")

    def write(self, name: str, cells: Sequence[str], kernel: str = "python3") -> Path:
        """Write a notebook of code cells."""
        import nbformat

        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        path = self.notebooks / name
        nbformat.write(notebook, path)
        return path

    def page_address(self, name: str) -> str:
        """Where a browser opens the notebook `name`."""
        return f"{self.url}/lab/tree/{name}?token={self._token}&reset"

    def kernel_is_ready(self, name: str) -> bool:
        """Whether the kernel of a notebook is idle and a page is connected to it."""
        kernels = [session["kernel"] for session in self.call("GET", "sessions") if session["path"] == name]
        return any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in kernels)

    def call(self, method: str, what: str) -> Any:
        """Ask the server's own interface; returns what it answers as JSON."""
        request = urllib.request.Request(f"{self.url}/api/{what}", method=method)
        request.add_header("Authorization", f"token {self._token}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def close(self) -> None:
        """End the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "OMP_NUM_THREADS": "1",
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
            *("--ip=127.0.0.1", f"--IdentityProvider.token={self._token}", "--ServerApp.port_retries=0"),
            *(f"--ServerApp.root_dir={self.notebooks}", "--LabApp.extension_manager=readonly"),
            "--LabApp.expose_app_in_browser=True",
        ]
        path = self.folder / "server.log"
        with path.open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.call("GET", "status")
                return process
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    text = path.read_text("utf-8", "replace")
                    raise ChildProcessError(f"JupyterLab did not start:\n{text[-2000:]}") from error
                time.sleep(0.1)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
