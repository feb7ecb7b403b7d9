"""One browser and one JupyterLab server for each module of this folder; each test has its own notebook or page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from browser import lab

expect.set_options(timeout=20_000)  # two cores that others use too: what comes late is not what never comes

OLD_PYTHON = os.environ.get("DIFFLENS_OLD_KERNEL_PYTHON")
"""An interpreter with an older ipykernel; the tests that depend on the kernel run with it too."""

KERNELS = ["python3", *(["old"] if OLD_PYTHON else [])]

Opener = Callable[..., lab.Notebook]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(lab.FOLDER):
            item.add_marker("browser")
            # a page, a server and a kernel on two shared cores; what passed the second time only is listed at the end
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of a kernel; a test that takes it runs once with each."""
    return request.param


# Of a module, not of the session: while Playwright is open no other test could run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if lab.find_chromium() is None:
        reason = "no Chromium is installed"
        if os.environ.get("DIFFLENS_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = lab.launch(playwright)
        yield started
        started.close()


@pytest.fixture(scope="module")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.LabServer]:
    started = lab.LabServer(tmp_path_factory.mktemp("lab"), OLD_PYTHON)
    yield started
    started.close()


_numbers = count()


@pytest.fixture
def open_notebook(browser: Browser, server: lab.LabServer) -> Iterator[Opener]:
    """Opens a notebook of the cells given in a browser that knows nothing yet; nothing has run."""
    contexts = []

    def open_one(cells: Sequence[str] = (), *, kernel: str = "python3", name: str = "") -> lab.Notebook:
        if not name:
            name = f"notebook-{next(_numbers)}.ipynb"
            server.write(name, [lab.SETUP, *cells], kernel)
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True))
        notebook = lab.Notebook(contexts[-1].new_page(), server, name)
        notebook.wait_for_kernel()
        return notebook

    yield open_one
    for context in contexts:
        context.close()
    server.end_kernels()
