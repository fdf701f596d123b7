"""nginx as a process, with the configuration of docs/deploying.md."""

import getpass
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.office.processes import ROOT, Daphne
from tests.servers import NotInstalled, Server, free_port

HTTP = """
daemon off;
worker_processes 1;
user {user};
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    # Everything that nginx may compress.
    gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
    {site}
}}
"""


class Nginx(Server):
    """nginx in front of a web process and of this folder of files. `change` gets the documented configuration."""

    def __init__(self, site: Daphne, files: Path | None = None, *, change: Callable[[str], str] = str) -> None:
        super().__init__()
        self.port = free_port()
        text = documented()
        for old, new in {
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port};",
            "server_name exports.example;": "server_name 127.0.0.1;",
            "http://127.0.0.1:8000;": f"http://{site.host};",
            "alias /srv/exports/files/;": f"alias {files}/;",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        # nginx, started by root, would read the files as another user.
        config = HTTP.format(user=getpass.getuser(), folder=self.folder, site=change(text))
        (self.folder / "nginx.conf").write_text(config)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [program(), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def documented() -> str:
    """Return the configuration in docs/deploying.md."""
    text = (ROOT / "docs" / "deploying.md").read_text()
    [block] = re.findall(r"```nginx\n(map .*?)```", text, re.DOTALL)
    return block


def program() -> str:
    # Debian installs it into a folder that is not on every user's PATH.
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise NotInstalled("nginx was not found. Install the package nginx.")
    return found
