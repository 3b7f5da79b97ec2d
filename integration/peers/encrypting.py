"""A person with OMEMO (XEP-0384), by slixmpp-omemo: what person.py does, and

    {"do": "encrypt", "to": …, "text": …}    {"event": "encrypted", "from": …, "text": …}

`ready` comes once keys and list of devices are published as well. Everybody's keys are trusted blindly.
"""
import logging
import sys

from omemo.storage import Just, Nothing, Storage
from slixmpp.plugins.base import register_plugin
from slixmpp_omemo import XEP_0384

import person


class Memory(Storage):
    """What OMEMO has to remember; this person is as old as its process."""

    def __init__(self):
        super().__init__(True)
        self.values = {}

    async def _load(self, key):
        return Just(self.values[key]) if key in self.values else Nothing()

    async def _store(self, key, value):
        self.values[key] = value

    async def _delete(self, key):
        self.values.pop(key, None)


class Omemo(XEP_0384):
    name = "xep_0384"

    def plugin_init(self):
        self.memory = Memory()
        super().plugin_init()

    @property
    def storage(self):
        return self.memory

    @property
    def _btbv_enabled(self):
        return True

    async def _prompt_manual_trust(self, manually_trusted, identifier):
        raise AssertionError("nobody is there to be asked")


register_plugin(Omemo)


class Encrypting(person.Person):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password, ca)
        self.register_plugin("xep_0380")
        self.register_plugin("xep_0384", module=sys.modules[__name__])
        self.published = self.loop.create_future()
        self.add_event_handler("omemo_initialized", lambda _: self.published.set_result(None))

    async def start(self, event):
        await self.published
        await super().start(event)

    def message(self, message):
        if self.plugin["xep_0384"].is_encrypted(message):
            self.loop.create_task(self.decrypt(message))
        else:
            super().message(message)

    async def decrypt(self, message):
        clear, _device = await self.plugin["xep_0384"].decrypt_message(message)
        sender = str(message["from"].bare)
        # A message without a body sets a session up.
        if clear["body"]:
            person.tell("encrypted", text=clear["body"], **{"from": sender})

    async def obey(self, order):
        if order["do"] != "encrypt":
            return await super().obey(order)
        message = self.make_message(mto=order["to"], mtype="chat", mbody=order["text"])
        message.set_from(self.boundjid)
        encrypted, errors = await self.plugin["xep_0384"].encrypt_message(message, message["to"])
        for error in errors:
            person.tell("error", condition=str(error), **{"from": order["to"]})
        encrypted["eme"]["namespace"] = "eu.siacs.conversations.axolotl"
        encrypted.send()


if __name__ == "__main__":
    logging.getLogger("omemo").setLevel(logging.ERROR)
    person.main(Encrypting)
