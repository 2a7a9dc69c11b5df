# A client of HTTP/3 made with aioquic: http3_client.py PORT CA NAME COUNT SIZE sends COUNT requests of SIZE bytes at once on one connection and prints each status and how many bytes came back.
import asyncio, ssl, sys
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

port, ca, name, count, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.answers = H3Connection(self._quic), {}

    def quic_event_received(self, event):
        for e in self.http.handle_event(event):
            status, body, done = self.answers.get(e.stream_id, [None, 0, None])
            if isinstance(e, HeadersReceived) and status is None:
                status = dict(e.headers)[b":status"].decode()
            elif isinstance(e, DataReceived):
                body += len(e.data)
            self.answers[e.stream_id] = [status, body, done]
            if e.stream_ended and not done.done():
                done.set_result(None)

    async def ask(self):
        stream = self._quic.get_next_available_stream_id()
        done = self._loop.create_future()
        self.answers[stream] = [None, 0, done]
        self.http.send_headers(stream, [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", name.encode()), (b":path", b"/")])
        self.http.send_data(stream, b"x" * size, True)
        self.transmit()
        await asyncio.wait_for(done, 20)
        return self.answers[stream]


async def main():
    conf = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name)
    conf.load_verify_locations(ca)
    async with connect("127.0.0.1", port, configuration=conf, create_protocol=Client) as c:
        for status, body, _ in await asyncio.gather(*[c.ask() for _ in range(count)]):
            print(status, body)


asyncio.run(main())
