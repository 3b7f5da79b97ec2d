"""A person at the other domain, by slixmpp: answers every message with `echo: …`.

echo.py JID PASSWORD HOST PORT CA [TO TEXT REPLY]

Prints `ready` once online and `got FROM: TEXT` for each message. With TO it says TEXT first and
ends with success when REPLY comes.
"""
import asyncio
import logging
import ssl
import sys

import slixmpp


class Echo(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca, say):
        super().__init__(jid, password)
        self.ssl_context = ssl.create_default_context(cafile=ca)
        self.say = say
        self.failed = None
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.message)
        self.add_event_handler("failed_all_auth", self.fail)
        self.add_event_handler("ssl_invalid_chain", self.fail)
        # Whoever asks to see our presence may (RFC 6121 §3.1).
        self.auto_authorize = True
        self.auto_subscribe = True

    def get_ssl_context(self):
        return self.ssl_context

    def fail(self, why):
        self.failed = why
        print("failed", why, flush=True)
        self.disconnect()

    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        print("ready", flush=True)
        if self.say:
            to, text, _reply = self.say
            self.send_message(mto=to, mbody=text, mtype="chat")

    def message(self, message):
        if message["type"] not in ("chat", "normal") or not message["body"]:
            return
        print(f"got {message['from'].bare}: {message['body']}", flush=True)
        if self.say:
            if message["body"] == self.say[2]:
                self.say = None
                self.disconnect()
        else:
            # To the account: whoever only sends has gone by the time the answer comes.
            reply = message.reply("echo: " + message["body"])
            reply["to"] = message["from"].bare
            reply.send()


def main():
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    jid, password, host, port, ca, *say = sys.argv[1:]
    client = Echo(jid, password, ca, say or None)
    client.connect(host=host, port=int(port))
    limit = 30 if say else 600
    loop = asyncio.get_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(client.disconnected, limit))
    except asyncio.TimeoutError:
        sys.exit("no answer in time")
    if client.failed or (say and client.say):
        sys.exit(f"failed: {client.failed}, still waiting for {client.say}")


main()
