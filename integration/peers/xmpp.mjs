// A person by xmpp.js (@xmpp/client) who loses the connection once and logs in twice.
//
// xmpp.mjs SERVICE HOST JID PASSWORD TO
//
// SERVICE is a URL, whose host name is looked up as HOST; trust comes by NODE_EXTRA_CA_CERTS.
// Says something to TO and waits for the echo; waits for its connection to break and for the
// library to resume the session; says something; logs out and in again; says something.
//
// Prints `online JID`, `talked TEXT` after each echo, `disconnected`, `resumed`, `offline`, `token`
// for each token it is given, `lost` for each stanza that the library gives up, and `done`.
import dns from "node:dns";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [service, host, address, password, to] = process.argv.slice(2);

// The namespace that plays run in has no name server.
dns.lookup = (_name, options, callback) => {
  const done = callback ?? options;
  if (options?.all) done(null, [{ address: host, family: 4 }]);
  else done(null, host, 4);
};

const require = createRequire(`${process.env.COMITY_NPM}/package.json`);
const { client, xml } = await import(pathToFileURL(require.resolve("@xmpp/client")));

const [username, domain] = address.split("@");
const xmpp = client({ service, domain, username, password });
const print = (...words) => console.log(...words);

function fail(why) {
  print("failed", why?.stack ?? why);
  process.exit(1);
}
setTimeout(() => fail("it takes too long"), 50_000);

// An error that the library mends by itself, such as a lost socket, is no failure.
xmpp.on("error", (error) => {
  print("error", error?.message ?? error);
  if (/SASL|authoriz/i.test(`${error?.name} ${error?.condition}`)) fail(error);
});
xmpp.on("disconnect", () => print("disconnected"));
xmpp.streamManagement.on("resumed", () => print("resumed"));
xmpp.streamManagement.on("fail", (stanza) => print("lost", `${stanza}`));
xmpp.on("element", (element) => {
  if (element.getChild("token", "urn:xmpp:fast:0")) print("token");
});

/** Resolves when a message with this text comes. */
function heard(text) {
  return new Promise((resolve) => {
    const listen = (stanza) => {
      if (!stanza.is("message") || stanza.getChildText("body") !== text) return;
      xmpp.off("stanza", listen);
      resolve();
    };
    xmpp.on("stanza", listen);
  });
}

async function talk(text) {
  const answer = heard(`echo: ${text}`);
  await xmpp.send(xml("message", { type: "chat", to }, xml("body", {}, text)));
  await answer;
  print("talked", text);
}

xmpp.on("online", async (jid) => {
  print(`online ${jid}`);
  await xmpp.send(xml("presence"));
});

/** Resolves once online: the promise of start() misses a server that answers very fast. */
function login() {
  const online = new Promise((resolve) => xmpp.once("online", resolve));
  xmpp.start().catch((error) => print("error", error?.message ?? error));
  return online;
}

try {
  const back = new Promise((resolve) => {
    xmpp.streamManagement.once("resumed", resolve);
  });
  await login();
  await talk("By thy gracious self");
  await back;
  await talk("Good night, good night");
  await xmpp.stop();
  print("offline");
  await login();
  await talk("Parting is such sweet sorrow");
  await xmpp.stop();
  print("done");
  process.exit(0);
} catch (error) {
  fail(error);
}
