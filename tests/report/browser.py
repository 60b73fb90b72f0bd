"""A real browser, asked over its debugging protocol: what a person would see and do."""

import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-default-apps", "--disable-dev-shm-usage"),
    *("--remote-debugging-port=0", "about:blank"),
)
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "a": 65, "d": 68}


def find():
    """The browser's program; the test is skipped, and says so, where there is none."""
    for name in NAMES:
        if program := shutil.which(name):
            return program
    pytest.skip(f"needs a browser to look at the report: one of {', '.join(NAMES)}")
    return None


def _step(event):
    """What an event says a page has come to, and which page."""
    told = event["params"]
    return (told["name"], told["loaderId"]) if event["method"] == "Page.lifecycleEvent" else None


class Browser:
    """One page in a browser of its own."""

    def __init__(self):
        program = find()
        self.folder = tempfile.mkdtemp()
        self.loop = asyncio.new_event_loop()
        self.process = subprocess.Popen(
            [program, f"--user-data-dir={self.folder}", *FLAGS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.events = []
        self.numbers = itertools.count(1)
        self.run(self._connect())

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def _connect(self):
        port = Path(self.folder) / "DevToolsActivePort"
        while not (port.is_file() and port.read_text().count("\n")):
            assert self.process.poll() is None, "the browser ended"
            await asyncio.sleep(0.05)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
        self.session = aiohttp.ClientSession()
        pages = []
        while not pages:
            async with self.session.get(address) as answer:
                pages = [p for p in await answer.json() if p["type"] == "page"]
        self.socket = await self.session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self._ask(f"{domain}.enable")
        await self._ask("Page.setLifecycleEventsEnabled", enabled=True)

    async def _hear(self):
        message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, f"the browser ended: {message}"
        return json.loads(message.data)

    async def _heard(self, wanted):
        """Wait for an event, unless it has come; return what it says."""
        while (found := next((e["params"] for e in self.events if wanted(e)), None)) is None:
            self.events.append(await self._hear())
        return found

    async def _ask(self, method, **parameters):
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._hear()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def ask(self, method, **parameters):
        return self.run(self._ask(method, **parameters))

    def open(self, path, fragment=""):
        """Load a file, and wait until it is there; returns the seconds it took."""
        self.events.clear()
        begin = time.perf_counter()
        # Until it is loaded, the page before it still answers, and says that it is complete.
        # And until it has been painted, what is typed and clicked is dropped.
        if page := self.ask("Page.navigate", url=f"{Path(path).resolve().as_uri()}{fragment}").get("loaderId"):
            for name in ("load", "firstContentfulPaint"):
                self.run(self._heard(lambda e, name=name: (name, page) == _step(e)))
        self.settle()
        return time.perf_counter() - begin

    def settle(self):
        """Let the page do what it has put off until later: timers come in the order in which they were set."""
        self.js("new Promise(r => requestAnimationFrame(() => setTimeout(() => setTimeout(() => setTimeout(r)))))")

    def js(self, code):
        result = self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def click(self, selector):
        """Press the mouse on the middle of an element, as a person would."""
        # What comes into sight is laid out one or two frames later, and moves the rest: four frames at rest are the end of it.
        x, y = self.js(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)});"
            " for (let last = '', rest = 0; ; await new Promise(requestAnimationFrame)) {"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect(), at = [b.x + b.width / 2, b.y + b.height / 2];"
            " rest = String(at) === last ? rest + 1 : 0; last = String(at);"
            " if (rest === 4) return at; } })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=f"Key{name.upper()}" if len(name) == 1 else name,
                windowsVirtualKeyCode=KEYS[name],
                text={"Enter": "\r"}.get(name, name if len(name) == 1 else "") if kind == "keyDown" else "",
            )
        self.settle()

    def type(self, selector, text):
        """Write into a field and leave it."""
        self.js(f"document.querySelector({json.dumps(selector)}).focus()")
        self.ask("Input.insertText", text=text)
        self.js("document.activeElement.blur()")
        self.settle()

    def download(self, folder, selector):
        """Click what saves a file; return the file once it is whole."""
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)
        self.click(selector)
        end = self.run(
            self._heard(lambda e: e["method"].endswith(".downloadProgress") and e["params"]["state"] != "inProgress")
        )
        assert end["state"] == "completed", end
        (found,) = folder.glob("*.csv")
        return found

    def size(self, width, height=900):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name):
        """Choose light or dark; nothing moves by itself, so that a click lands where it was aimed."""
        features = {"prefers-color-scheme": name, "prefers-reduced-motion": "reduce"}
        self.ask("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in features.items()])

    def complaints(self):
        """What the browser objected to: errors in scripts, refused resources."""
        return [
            m
            for m in self.events
            if m["method"] == "Runtime.exceptionThrown"
            or (m["method"] == "Log.entryAdded" and m["params"]["entry"]["level"] == "error")
        ]

    def requests(self):
        """Addresses that were asked for, beside the file itself and what it holds."""
        urls = [m["params"]["request"]["url"] for m in self.events if m["method"] == "Network.requestWillBeSent"]
        return [u for u in urls if not u.startswith(("file:", "data:"))]

    def close(self):
        async def end():
            await self.socket.close()
            await self.session.close()
            await asyncio.sleep(0.05)

        try:
            self.run(end())
        finally:
            self.process.kill()
            self.process.wait()
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)
