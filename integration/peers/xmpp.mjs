// A person by xmpp.js (@xmpp/client): logs in, says something, and waits for the answer.
//
// xmpp.mjs SERVICE HOST JID PASSWORD TO [cut]
//
// SERVICE is a URL, whose host name is looked up as HOST; trust comes by NODE_EXTRA_CA_CERTS.
// Prints `online JID`, `got FROM: TEXT` for each message, `resumed` and `token` when they happen.
// With `cut` it then loses its socket, waits until the library has brought it back, and talks again.
import dns from "node:dns";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [service, host, address, password, to, cut] = process.argv.slice(2);

// The namespace that plays run in has no name server.
dns.lookup = (_name, options, callback) => {
  const done = callback ?? options;
  if (options?.all) done(null, [{ address: host, family: 4 }]);
  else done(null, host, 4);
};

const require = createRequire(`${process.env.HOME}/.cache/comity/npm/package.json`);
const { client, xml } = await import(pathToFileURL(require.resolve("@xmpp/client")));

const [username, domain] = address.split("@");
const xmpp = client({ service, domain, username, password });
const say = (text) =>
  xmpp.send(xml("message", { type: "chat", to }, xml("body", {}, text)));
const print = (...words) => console.log(...words);

function fail(why) {
  print("failed", why?.stack ?? why);
  process.exit(1);
}
setTimeout(() => fail("it takes too long"), 40_000);

// An error that the library mends by itself, such as a lost socket, is no failure.
xmpp.on("error", (error) => {
  print("error", error?.message ?? error);
  if (/SASL|authoriz/i.test(`${error?.name} ${error?.condition}`)) fail(error);
});

xmpp.streamManagement?.on("resumed", () => print("resumed"));
xmpp.fast?.on?.("token", () => print("token"));

/** The next message with this text. */
function heard(text) {
  return new Promise((resolve) => {
    const listen = (stanza) => {
      if (!stanza.is("message") || stanza.getChildText("body") !== text) return;
      print(`got ${stanza.attrs.from.split("/")[0]}: ${text}`);
      xmpp.off("stanza", listen);
      resolve();
    };
    xmpp.on("stanza", listen);
  });
}

async function talk(text) {
  const answer = heard(`echo: ${text}`);
  await say(text);
  await answer;
}

xmpp.on("online", async (jid) => {
  print(`online ${jid}`);
  await xmpp.send(xml("presence"));
});

try {
  await xmpp.start();
  await talk("By thy gracious self");
  if (cut) {
    const back = new Promise((resolve) => {
      xmpp.once("online", resolve);
      xmpp.streamManagement.once("resumed", resolve);
    });
    (xmpp.socket.socket ?? xmpp.socket).destroy?.() ?? xmpp.socket.socket.terminate?.();
    await back;
    await talk("Good night, good night");
  }
  await xmpp.stop();
  print("done");
  process.exit(0);
} catch (error) {
  fail(error);
}
