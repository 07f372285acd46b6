"""A real SMTP server in a process of its own that notes what it takes: `python -m tests.faults.sink FILE [MS]`.

It prints its port. With MS, the replies to a packet come so many milliseconds late. FILE gets a line per mail,
before the 250: recipient, Message-ID and Date, separated by tabs.
"""

import asyncio
import re
import sys
from pathlib import Path


class Sink(asyncio.Protocol):
    """Enough of RFC 5321 for a client that pipelines, and fast."""

    def __init__(self, log: Path, delay: float) -> None:
        self._file = log.open("ab", buffering=0)
        self._delay = delay
        self._buffer = b""
        self._recipient = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._say(b"220 sink ready\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = b""
        while answer := self._next():
            answers += answer
        if answers:
            self._say(answers)

    def _next(self) -> bytes:
        """The answer to the next line, or mail, that is here whole."""
        if self._in_data:
            end = self._buffer.find(b"\r\n.\r\n")
            if end < 0:
                return b""
            self._take(self._buffer[:end])
            self._buffer, self._in_data = self._buffer[end + 5 :], False
            return b"250 2.0.0 Ok\r\n"
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return b""
        self._buffer = rest
        return self._answer(line)

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0]
        if verb == b"DATA":
            self._in_data = True
            return b"354 Go on\r\n"
        if verb == b"QUIT":
            return b"221 Bye\r\n"
        return b"250 Ok\r\n"

    def _take(self, content: bytes) -> None:
        found = [re.search(rb"(?m)^%s: (.*?)\r?$" % name, content) for name in (b"Message-ID", b"Date")]
        self._file.write(b"\t".join([self._recipient, *(each[1] if each else b"" for each in found)]) + b"\n")

    def _say(self, answer: bytes) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def main(protocol: type[Sink] = Sink) -> None:
    log, delay = Path(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0
    server = await asyncio.get_running_loop().create_server(lambda: protocol(log, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
