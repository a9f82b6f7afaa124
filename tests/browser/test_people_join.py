"""Annotators on other machines make accounts by the invitation and label, through a proxy with TLS and without."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotate.label_studio.environment import environment_folder, installed_version
from annotate.label_studio.gateway import connect
from annotate.label_studio.plain_http import ask
from annotate.label_studio.studio import Studio
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.provenance.trace import trace_cell
from tests.browser.test_labelling_screen import CHROMIUM, CHROMIUM_OPTIONS
from tests.labelling_corpus import dialogue, write_workspace
from tests.self_signed import self_signed
from tests.skipping import skip_or_fail
from tests.studio_fixtures import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.studio, pytest.mark.browser, pytest.mark.slow]

NAME = "labels.test"
OTHER_ADDRESS = "127.0.0.2"
"""Of this machine; a server that listens on 127.0.0.1 alone does not answer there."""


@contextmanager
def proxy_with_tls(folder: Path, port: int, behind: tuple[str, int]) -> Iterator[None]:
    """What nginx and its like do: speak TLS with browsers, and plain HTTP with the server."""
    certificate, key = self_signed(folder, NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    async def serve(from_browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*behind)
        await asyncio.gather(pass_on(from_browser, to_server), pass_on(from_server, to_browser))

    async def listen() -> None:
        stopped = asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        async with await asyncio.start_server(serve, OTHER_ADDRESS, port, ssl=context):
            listening.set()
            await stopped.wait()

    # one thread for all connections: two threads must not read and write one TLS connection at once
    stop, listening, loop = list[Callable[[], object]](), threading.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(listen(),), daemon=True)
    thread.start()
    assert listening.wait(30)
    yield
    stop[0]()
    thread.join(30)


@contextmanager
def browser_elsewhere() -> Iterator[Page]:
    """A browser that knows the server by name only, as one on another machine does."""
    if not CHROMIUM.exists():
        skip_or_fail("browser", f"no Chromium at {CHROMIUM}; set SEMCTL_CHROMIUM")
    from playwright.sync_api import sync_playwright

    rules = f"--host-resolver-rules=MAP {NAME} {OTHER_ADDRESS}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*CHROMIUM_OPTIONS, rules])
        page = browser.new_context(ignore_https_errors=True, viewport={"width": 1366, "height": 768}).new_page()
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def sign_up(page: Page, invitation: str, email: str) -> int:
    """Fill in the form behind an address; the status of the answer."""
    page.goto(invitation)
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", "open-sesame-12")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.click("button[type=submit]")
    if answered.value.status == 302:
        page.wait_for_url(lambda url: "/user/signup" not in url)  # else it would overtake where the test goes next
    return answered.value.status


def test_people_make_accounts_by_the_invitation_and_label_from_other_machines(tmp_path: Path):
    if installed_version(environment_folder()) is None:
        skip_or_fail("studio", f"no Label Studio in {environment_folder()}; set SEMCTL_STUDIO_ENV or start one once")
    workspace = write_workspace(tmp_path / "ws", [dialogue("shared")])
    studio, port, tls_port = Studio.of_workspace(workspace.root), free_port(), free_port()
    shown = studio.start(port, host="0.0.0.0", public_url=f"https://{NAME}:{tls_port}")
    try:
        result = export_for_labelling(workspace, ExportRequest(Selection(), project="shared"))
        assert result.url is not None
        assert result.url.startswith(f"https://{NAME}:{tls_port}/projects/")
        assert shown.invitation is not None
        with proxy_with_tls(tmp_path, tls_port, (OTHER_ADDRESS, port)), browser_elsewhere() as page:
            assert sign_up(page, shown.invitation.partition("?")[0], "stranger@example.org") == 403, "without the token"
            assert sign_up(page, shown.invitation, "ann@example.org") == 302
            images: dict[str, int] = {}
            page.on(
                "response", lambda answer: "local-files" in answer.url and images.update({answer.url: answer.status})
            )
            page.goto(f"{result.url}?labeling=1")
            page.wait_for_selector(".sem-row")
            page.wait_for_function(
                "[...document.querySelectorAll('.sem-i img')].every(image => image.complete && image.naturalWidth)"
            )
            assert images
            assert all(url.startswith(f"https://{NAME}:{tls_port}/") for url in images)
            assert set(images.values()) == {200}
            with page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
                page.keyboard.press("Control+Enter")
            gateway = connect(workspace.root)
            assert gateway.url == f"http://127.0.0.1:{port}"
            assert sorted(gateway.users().values()) == ["ann@example.org", "owner@semctl.local"]
            (task,) = gateway.tasks(gateway.require_project("shared"))
            assert task.annotations == 1
            ingest_labels(workspace, IngestRequest(projects=("shared",)))
            witnesses = [
                w for step in trace_cell(workspace, "shared", turn=0, slot="color").steps for w in step.witnesses
            ]
            assert [witness.task_url for witness in witnesses] == [f"{result.url}?task={task.id}"]
            old, new = shown.invitation, studio.invitation(new=True)
            page.context.clear_cookies()
            assert sign_up(page, old, "late@example.org") == 403, "the old invitation invites nobody"
            plain = new.replace(f"https://{NAME}:{tls_port}", f"http://{NAME}:{port}")
            assert sign_up(page, plain, "bo@example.org") == 302
        assert ask(f"http://{OTHER_ADDRESS}:{port}", "/health").status == 400, "asked by no name that it goes by"
    finally:
        studio.stop()
