"""One browser and one JupyterLab server for this folder; each test has its own notebook, or its own page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from browser import lab

expect.set_options(timeout=20_000)  # ms; on two busy cores much comes late

OLD_PYTHON = os.environ.get("DIFFLENS_OLD_KERNEL_PYTHON")
"""A Python with an older ipykernel; the tests that take `kernel` run with it as well."""

KERNELS = ["python3", *(["old"] if OLD_PYTHON else [])]

Opener = Callable[..., lab.Notebook]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(lab.FOLDER):
            item.add_marker("browser")
            # timing on two busy cores; tests that passed only the second time are listed at the end
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of a kernel; a test that takes this runs once with each kernel."""
    return request.param


# For this folder, not for the session: while Playwright is open no other test can run an event loop. The scope
# "package" needs the `__init__.py` of this folder.
@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.LabServer]:
    started = lab.LabServer(tmp_path_factory.mktemp("lab"), OLD_PYTHON)
    yield started
    started.close()


_numbers = count()


@pytest.fixture
def open_notebook(browser: Browser, server: lab.LabServer) -> Iterator[Opener]:
    """A function that opens a notebook with the given cells in a new browser context; no cell has run."""
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
