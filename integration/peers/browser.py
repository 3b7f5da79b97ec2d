"""A person with Converse.js in headless Chromium, told what to do line by line.

browser.py PAGE CONVERSE CA PROFILE RESOLVE

PAGE is the address that this program serves Converse at (`http://127.0.0.2:8080`), whose files are
in the folder CONVERSE; CA is a certificate the browser believes, PROFILE its folder, and RESOLVE
where it finds hosts (Chromium's --host-resolver-rules).

Reads orders from standard input and writes what happens to standard output, a JSON object a line:

    {"do": "login", "jid": …, "password": …}          {"event": "done", "do": …}
    {"do": "click" | "see" | "miss", "css": …, "text": …}  {"event": "failed", "why": …}
    {"do": "say", "text": …}
    {"do": "count", "css": …, "text": …, "number": …}
    {"do": "go", "url": …}
    {"do": "silent", "of": …}
    {"do": "reload"}
    {"do": "forget"}
    {"do": "picture", "file": …}

`silent` wants nothing of that in the browser's log. `see` waits for an element that shows the text, `miss` until none does, `count` for so many of them.
`forget` makes it the browser of somebody who was never here. Each waits PATIENCE seconds at the most;
what fails leaves `failed.png` in PROFILE.
"""
import functools
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

# How long anything may take, in seconds.
PATIENCE = 40

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Converse</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/converse.min.css">
<script type="module" src="/converse.min.js"></script>
</head>
<body class="reset">
<script type="module">
converse.initialize({
    assets_path: "/",
    auto_reconnect: true,
    i18n: "en",
    loglevel: "debug",
    play_sounds: false,
    view_mode: "fullscreen",
});
</script>
</body>
</html>
"""


class Files(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/":
            return super().do_GET()
        page = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def serve(page, folder):
    address = urllib.parse.urlparse(page)
    handler = functools.partial(Files, directory=folder)
    server = http.server.ThreadingHTTPServer((address.hostname, address.port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def believe(authority, home):
    """Chromium believes whom the NSS database of its user names."""
    database = home / ".pki/nssdb"
    database.mkdir(parents=True, exist_ok=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-n", "play", "-t", "C,,", "-i", authority], check=True)


def start(profile, resolve):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--window-size=1200,800",
        f"--user-data-dir={profile / 'chromium'}",
        f"--host-resolver-rules={resolve}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(
        "/usr/bin/chromedriver", log_output=str(profile / "chromedriver.log")
    )
    return webdriver.Chrome(options=options, service=service)


class Person:
    def __init__(self, driver, page):
        self.driver = driver
        self.page = page

    def wait(self, condition, what):
        patience = WebDriverWait(
            self.driver, PATIENCE, 0.1, ignored_exceptions=[StaleElementReferenceException]
        )
        return patience.until(lambda _: condition(), what)

    def all(self, css, text=""):
        """The elements of that kind that are displayed and show the text."""

        def shows(element):
            return element.is_displayed() and text in (element.text or element.get_attribute("title") or "")

        return [element for element in self.driver.find_elements(By.CSS_SELECTOR, css) if shows(element)]

    def find(self, css, text=""):
        return next(iter(self.all(css, text)), None)

    def see(self, css, text=""):
        return self.wait(lambda: self.find(css, text), f"no {css} shows {text!r}")

    def miss(self, css, text=""):
        self.wait(lambda: not self.find(css, text), f"{css} still shows {text!r}")

    def count(self, css, text, number):
        self.wait(lambda: len(self.all(css, text)) == number, f"not {number} {css} show {text!r}")

    def click(self, css, text=""):
        def clicked():
            element = self.find(css, text)
            # Not yet: something may be passing over it.
            try:
                return element and (element.click() or True)
            except StaleElementReferenceException:
                raise
            except WebDriverException:
                return False

        self.wait(clicked, f"{css} {text!r} cannot be clicked")

    def login(self, jid, password):
        self.driver.get(self.page)
        self.see("input[name=jid]").send_keys(jid)
        self.see("input[name=password]").send_keys(password)
        self.click("converse-login-form button[type=submit], #converse-login [type=submit]")
        self.see("converse-roster")

    def say(self, text):
        self.see("textarea.chat-textarea").send_keys(text, Keys.ENTER)
        self.see("converse-chat-message", text)

    def reload(self):
        self.driver.refresh()
        self.see("converse-roster")

    def go(self, url):
        self.driver.get(url)

    def silent(self, of):
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        assert not any(of in line for line in lines), lines

    def forget(self):
        self.driver.get("about:blank")
        origin = {"origin": self.page, "storageTypes": "all"}
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", origin)

    def picture(self, file):
        self.driver.save_screenshot(file)


def obey(person, order):
    what = order.pop("do")
    getattr(person, what)(**order)
    print(json.dumps({"event": "done", "do": what}), flush=True)


def main():
    page, converse, authority, profile, resolve = sys.argv[1:]
    profile = pathlib.Path(profile)
    os.environ["HOME"] = str(profile)
    believe(authority, profile)
    serve(page, converse)
    driver = start(profile, resolve)
    person = Person(driver, page)
    try:
        print(json.dumps({"event": "ready"}), flush=True)
        for line in sys.stdin:
            obey(person, json.loads(line))
    except Exception as error:
        driver.save_screenshot(str(profile / "failed.png"))
        (profile / "failed.html").write_text(driver.page_source)
        lines = [entry["message"] for entry in driver.get_log("browser")][-40:]
        (profile / "failed.log").write_text("\n".join(lines))
        print(json.dumps({"event": "failed", "why": f"{error!r}"}), flush=True)
        raise
    finally:
        driver.quit()


main()
