"""What Windows and macOS do otherwise than Linux, played here: no machine of ours has had them."""

import os
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from labelloop import background, worker
from labelloop.cli.apart import check_apart
from labelloop.errors import BadInput
from labelloop.images import find_files
from labelloop.server import listen
from labelloop.server.pictures import picture
from tests.conftest import draw

ENDLESS = '''
from labelloop import strategy

@strategy
def endless(pool, n, rng):
    """Any image."""
    while True:
        pass
'''


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")


def test_no_two_apps_listen_at_one_port_of_windows(windows, monkeypatch):
    """There SO_REUSEADDR lets both, and one project's answers go to the other's app."""
    asked = []

    class Socket(socket.socket):
        def setsockopt(self, level, option, value):
            asked.append(option)

    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    monkeypatch.setattr(socket, "socket", Socket)
    listen("127.0.0.1", 0).close()
    assert asked == [-5]
