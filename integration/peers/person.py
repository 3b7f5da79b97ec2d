"""A person with an ordinary client, by slixmpp, told what to do line by line.

person.py JID PASSWORD HOST PORT CA

CA `-` believes any server: for those whose own server has a certificate that nobody believes.

Reads orders from standard input and writes what happens to standard output, a JSON object a line:

    {"do": "message", "to": …, "text": …}         {"event": "ready"}
    {"do": "burst", "to": …, "from": …, "until": …, "pause": …}   messages "0", "1", …
    {"do": "subscribe", "to": …}                  {"event": "message", "from": …, "text": …}
    {"do": "nick", "nick": …}                     {"event": "presence", "from": …, "type": …}
    {"do": "avatar"}                              {"event": "avatar", "data": …}, in base64
    {"do": "ping" | "version" | "disco", "to": …} {"event": "nick", "from": …, "nick": …}
                                                  {"event": "answer", "to": …, "what": …}
                                                  {"event": "error", "from": …, "condition": …}
"""
import asyncio
import base64
import json
import logging
import os
import ssl
import struct
import sys
import zlib

import slixmpp

NICK = "http://jabber.org/protocol/nick"
# How long an IQ may take, in seconds.
PATIENCE = 30


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def picture():
    """A square of one colour (PNG), and its side."""
    size, colour = 64, os.urandom(3)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    rows = (b"\0" + colour * size) * size
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts), size


class Person(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password)
        if ca == "-":
            self.ssl_context = ssl._create_unverified_context()
        else:
            self.ssl_context = ssl.create_default_context(cafile=ca)
        for plugin in ("xep_0030", "xep_0084", "xep_0092", "xep_0115", "xep_0163", "xep_0172", "xep_0199"):
            self.register_plugin(plugin)
        # Whoever asks to see our presence may, and shows us theirs (RFC 6121 §3.1).
        self.auto_authorize = True
        self.auto_subscribe = True
        self.is_ready = False
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.message)
        self.add_event_handler("message_error", self.returned)
        self.add_event_handler("failed_all_auth", lambda why: tell("failed", why=str(why)))
        self.add_event_handler("ssl_invalid_chain", lambda why: tell("failed", why=str(why)))
        self.add_event_handler("user_nick_publish", self.nick)
        for kind in ("available", "unavailable", "subscribe", "subscribed", "error"):
            self.add_event_handler("presence_" + kind, self.presence)

    def get_ssl_context(self):
        return self.ssl_context

    async def start(self, _):
        await self.get_roster()
        await self.plugin["xep_0115"].update_caps(broadcast=False)
        self.send_presence()

    def message(self, message):
        # An error may bring back what was said: that is told once, as an error.
        if message["type"] != "error" and message["body"]:
            tell("message", text=message["body"], **{"from": str(message["from"].bare)})

    def returned(self, message):
        sender = str(message["from"].bare)
        tell("error", condition=message["error"]["condition"], **{"from": sender})

    def presence(self, presence):
        # Our own presence comes back once the server has us (RFC 6121 §4.2.2); what comes for us
        # before that may be kept for the next login.
        if not self.is_ready and presence["from"] == self.boundjid:
            self.is_ready = True
            tell("ready")
        tell("presence", type=presence["type"], **{"from": str(presence["from"].bare)})

    def nick(self, message):
        item = message["pubsub_event"]["items"]["item"]
        tell("nick", nick=item["nick"]["nick"], **{"from": str(message["from"].bare)})

    async def obey(self, order):
        what, to = order["do"], order.get("to")
        if what == "message":
            self.send_message(mto=to, mbody=order["text"], mtype="chat")
        elif what == "burst":
            # Beside whatever else is ordered meanwhile.
            self.loop.create_task(self.burst(order))
        elif what == "subscribe":
            self.send_presence_subscription(pto=to)
        elif what == "nick":
            await self.plugin["xep_0172"].publish_nick(order["nick"], timeout=PATIENCE)
        elif what == "avatar":
            await self.avatar()
        elif what == "ping":
            await self.plugin["xep_0199"].send_ping(to, timeout=PATIENCE)
            tell("answer", to=to, what="pong")
        elif what == "version":
            answer = await self.plugin["xep_0092"].get_version(to, timeout=PATIENCE)
            tell("answer", to=to, what=answer["software_version"]["name"])
        elif what == "disco":
            answer = await self.plugin["xep_0030"].get_info(to, timeout=PATIENCE)
            names = [f"{kind[0]}/{kind[1]}" for kind in answer["disco_info"]["identities"]]
            tell("answer", to=to, what=" ".join(sorted(names)))
        else:
            tell("failed", why=f"nobody knows how to {what}")

    async def burst(self, order):
        for number in range(order["from"], order["until"]):
            self.send_message(mto=order["to"], mbody=str(number), mtype="chat")
            await asyncio.sleep(order["pause"])

    async def avatar(self):
        """Publishes a picture of its own (XEP-0084)."""
        image, size = picture()
        avatar = self.plugin["xep_0084"]
        await avatar.publish_avatar(image, timeout=PATIENCE)
        info = {"id": avatar.generate_id(image), "type": "image/png", "bytes": str(len(image))}
        info |= {"width": str(size), "height": str(size)}
        await avatar.publish_avatar_metadata(info, timeout=PATIENCE)
        tell("avatar", data=base64.b64encode(image).decode())

    async def listen(self):
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            order = json.loads(line)
            try:
                await self.obey(order)
            except slixmpp.exceptions.IqError as error:
                tell("error", condition=error.condition, **{"from": order.get("to")})
            except slixmpp.exceptions.IqTimeout:
                tell("error", condition="timeout", **{"from": order.get("to")})
        self.disconnect()


def main(kind=Person):
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    jid, password, host, port, ca, *more = sys.argv[1:]
    person = kind(jid, password, ca, *more)
    person.connect(host=host, port=int(port))
    loop = asyncio.get_event_loop()
    listening = loop.create_task(person.listen())
    loop.run_until_complete(person.disconnected)
    listening.cancel()


if __name__ == "__main__":
    main()
