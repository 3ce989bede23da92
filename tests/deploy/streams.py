"""An upstream whose stream goes on as the test says."""

from __future__ import annotations

import socket
import threading
import time


class Dripping:
    """Sends a stream of three events, each when it is told to, and notes a client that leaves."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.go = threading.Semaphore(0)
        self.gone = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def end(self) -> None:
        """End the stream after its events; without this, it waits for the client to leave."""
        self._end.set()

    def _serve(self) -> None:
        there, _ = self.socket.accept()
        with there:
            there.settimeout(10)
            asked = b""
            while not asked.endswith(b"{}"):  # what is left unread at the end is a reset
                asked += there.recv(65536)
            there.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            for i in range(3):
                self.go.acquire(timeout=10)
                there.sendall(f"data: {i}\n\n".encode())
            there.settimeout(0.05)
            until = time.monotonic() + 10
            while not self._end.is_set() and time.monotonic() < until:
                try:
                    if not there.recv(4096):
                        self.gone.set()
                        return
                except TimeoutError:
                    pass

    def close(self) -> None:
        """Wait for the thread."""
        self._thread.join()
        self.socket.close()
