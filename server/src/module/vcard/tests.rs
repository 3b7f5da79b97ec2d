use crate::play::{Person, Play};

const ALICE: &str = "alice@a.example";
/// SHA-1 of "image".
const ID: &str = "0e76292794888d4f1fa75fb3aff4ca27c58f56a6";

async fn get(person: &mut Person, of: &str, answer: &str) {
    let to = person.jid.clone();
    person
        .send(&format!(
            "<iq type='get' id='v' to='{of}'><vCard xmlns='vcard-temp'/></iq>"
        ))
        .await;
    person
        .gets(&answer.replace("%TO", &format!("id='v' from='{of}' to='{to}'")))
        .await;
}

async fn set(person: &mut Person, content: &str) {
    person
        .send(&format!(
            "<iq type='set' id='s'><vCard xmlns='vcard-temp'>{content}</vCard></iq>"
        ))
        .await;
    let to = person.jid.clone();
    person
        .gets(&format!("<iq type='result' id='s' to='{to}'/>"))
        .await;
}

fn vcard(content: &str) -> String {
    format!("<iq type='result' %TO><vCard xmlns='vcard-temp'>{content}</vCard></iq>")
}

const NOBODY: &str = "<iq type='error' %TO><error type='cancel'>\
     <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";

/// XEP-0054 §3: for everybody; who has none cannot be told from who is not there.
#[tokio::test]
async fn a_vcard_is_kept_and_shown_to_everybody() {
    let play = Play::of(&[ALICE, "bob@a.example"]).await;
    let mut alice = play.login("alice@a.example/1").await;
    let mut bob = play.login("bob@a.example/1").await;
    get(&mut bob, ALICE, NOBODY).await;
    get(&mut bob, "nobody@a.example", NOBODY).await;
    get(&mut alice, ALICE, &vcard("")).await;
    set(&mut alice, "<FN>Alice</FN><X-OWN>kept</X-OWN>").await;
    get(&mut bob, ALICE, &vcard("<FN>Alice</FN><X-OWN>kept</X-OWN>")).await;
    play.arrives(&format!(
        "<iq type='get' id='v' from='eve@b.example/x' to='{ALICE}'><vCard xmlns='vcard-temp'/></iq>"
    ))
    .await;
    play.sent_away(&[&format!(
        "<iq type='result' id='v' from='{ALICE}' to='eve@b.example/x'>\
         <vCard xmlns='vcard-temp'><FN>Alice</FN><X-OWN>kept</X-OWN></vCard></iq>"
    )]);
    // Nobody writes another's.
    bob.send(&format!(
        "<iq type='set' id='v' to='{ALICE}'><vCard xmlns='vcard-temp'/></iq>"
    ))
    .await;
    bob.gets(&NOBODY.replace(
        "%TO",
        &format!("id='v' from='{ALICE}' to='bob@a.example/1'"),
    ))
    .await;
}

/// XEP-0292: the newer of both is what both kinds of clients see.
#[tokio::test]
async fn old_and_new_vcards_are_one() {
    let play = Play::of(&[ALICE]).await;
    let mut alice = play.login("alice@a.example/1").await;
    set(&mut alice, "<FN>Alice</FN>").await;
    alice
        .send(
            "<iq type='get' id='4'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <items node='urn:xmpp:vcard4'/></pubsub></iq>",
        )
        .await;
    let item = |name: &str| {
        format!(
            "<item id='current'><vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'>\
             <fn><text>{name}</text></fn></vcard></item>"
        )
    };
    alice
        .gets(&format!(
            "<iq type='result' id='4' to='alice@a.example/1'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <items node='urn:xmpp:vcard4'>{}</items></pubsub></iq>",
            item("Alice")
        ))
        .await;
    play.clock.forward(std::time::Duration::from_secs(1));
    alice
        .send(&format!(
            "<iq type='set' id='5'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <publish node='urn:xmpp:vcard4'>{}</publish></pubsub></iq>",
            item("Alice Liddell")
        ))
        .await;
    alice.forget().await;
    get(&mut alice, ALICE, &vcard("<FN>Alice Liddell</FN>")).await;
    play.clock.forward(std::time::Duration::from_secs(1));
    set(&mut alice, "<FN>Al</FN>").await;
    get(&mut alice, ALICE, &vcard("<FN>Al</FN>")).await;
}

fn presence(photo: &str, to: &str) -> String {
    format!(
        "<presence from='alice@a.example/1' to='{to}'>\
         <x xmlns='vcard-temp:x:update'>{photo}</x></presence>"
    )
}

/// XEP-0398 §2: a photo of a vCard is an avatar, and presence shows its hash.
#[tokio::test]
async fn a_photo_becomes_the_avatar() {
    let play = Play::of(&[ALICE]).await;
    let mut alice = play.login("alice@a.example/1").await;
    let photo = "<PHOTO><TYPE>image/jpeg</TYPE><BINVAL>aW1h\nZ2U=</BINVAL></PHOTO>";
    set(&mut alice, &format!("<FN>Alice</FN>{photo}")).await;
    alice
        .gets(&presence(&format!("<photo>{ID}</photo>"), ALICE))
        .await;
    let shown = "<FN>Alice</FN><PHOTO><TYPE>image/jpeg</TYPE><BINVAL>aW1hZ2U=</BINVAL></PHOTO>";
    get(&mut alice, ALICE, &vcard(shown)).await;
    let items = play
        .home
        .storage
        .pubsub_items(ALICE, "urn:xmpp:avatar:metadata", 1)
        .await;
    let metadata = String::from_utf8(items.unwrap()[0].payload.clone()).unwrap();
    for part in [&format!("id='{ID}'"), "bytes='5'", "type='image/jpeg'"] {
        assert!(metadata.contains(part), "{metadata}");
    }
    // The same photo again is no news; none is.
    set(&mut alice, photo).await;
    alice.gets_nothing().await;
    set(&mut alice, "<FN>Alice</FN>").await;
    alice.gets(&presence("<photo/>", ALICE)).await;
    get(&mut alice, ALICE, &vcard("<FN>Alice</FN>")).await;
    // What a client claims in its presence does not count.
    alice
        .send("<presence><x xmlns='vcard-temp:x:update'><photo>beef</photo></x></presence>")
        .await;
    alice.gets(&presence("<photo/>", ALICE)).await;
}

/// XEP-0398 §2.1, §2.3: an avatar of XEP-0084 is in the vCard, for those who may see it.
#[tokio::test]
async fn an_avatar_becomes_the_photo() {
    let play = Play::of(&[ALICE, "bob@a.example"]).await;
    let mut alice = play.login("alice@a.example/1").await;
    let mut bob = play.login("bob@a.example/1").await;
    let publish = |node: &str, payload: &str, access: &str| {
        format!(
            "<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <publish node='{node}'><item id='{ID}'>{payload}</item></publish><publish-options>\
             <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>\
             <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
             <field var='pubsub#access_model'><value>{access}</value></field></x>\
             </publish-options></pubsub></iq>"
        )
    };
    let data = "<data xmlns='urn:xmpp:avatar:data'>aW1hZ2U=</data>";
    let metadata = format!(
        "<metadata xmlns='urn:xmpp:avatar:metadata'>\
         <info bytes='5' id='{ID}' type='image/png'/></metadata>"
    );
    alice
        .send(&publish("urn:xmpp:avatar:data", data, "open"))
        .await;
    alice
        .send(&publish("urn:xmpp:avatar:metadata", &metadata, "open"))
        .await;
    alice.forget().await;
    let shown = "<PHOTO><TYPE>image/png</TYPE><BINVAL>aW1hZ2U=</BINVAL></PHOTO>";
    get(&mut bob, ALICE, &vcard(shown)).await;
    alice.send("<presence/>").await;
    alice
        .gets(&presence(&format!("<photo>{ID}</photo>"), ALICE))
        .await;
    alice.send("<presence to='bob@a.example/1'/>").await;
    bob.gets(&presence(
        &format!("<photo>{ID}</photo>"),
        "bob@a.example/1",
    ))
    .await;
    // From now on for few alone: neither photo nor hash.
    let closed = "<iq type='set' id='c'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>\
         <configure node='urn:xmpp:avatar:metadata'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE' type='hidden'>\
         <value>http://jabber.org/protocol/pubsub#node_config</value></field>\
         <field var='pubsub#access_model'><value>whitelist</value></field></x></configure>\
         </pubsub></iq>";
    alice.send(closed).await;
    alice.forget().await;
    get(&mut bob, ALICE, NOBODY).await;
    get(&mut alice, ALICE, &vcard(shown)).await;
    alice.send("<presence/>").await;
    alice.gets(&presence("<photo/>", ALICE)).await;
}

#[tokio::test]
async fn a_photo_that_is_none_is_refused() {
    let play = Play::of(&[ALICE]).await;
    let mut alice = play.login("alice@a.example/1").await;
    let long = "QUJD".repeat(50 * 1024);
    for (binval, condition) in [
        ("!", "bad-request"),
        ("", "bad-request"),
        (&long, "not-acceptable"),
    ] {
        alice
            .send(&format!(
                "<iq type='set' id='s'><vCard xmlns='vcard-temp'><PHOTO><BINVAL>{binval}</BINVAL>\
                 </PHOTO></vCard></iq>"
            ))
            .await;
        alice
            .gets(&format!(
                "<iq type='error' id='s' to='alice@a.example/1'><error type='modify'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            ))
            .await;
    }
}
