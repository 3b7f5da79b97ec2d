//! Which messages are kept: all that is part of a conversation, and nothing that only says how it
//! goes at this moment (XEP-0313 §5.1, XEP-0334).

use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

/// Elements without which a conversation is not whole, beside `<body/>`. A name of `*`: any in the
/// namespace.
const CONVERSATION: &[(&str, &str)] = &[
    (ns::CLIENT, "body"),
    // XEP-0184, XEP-0333: that a message was received, or read.
    ("urn:xmpp:receipts", "received"),
    ("urn:xmpp:chat-markers:0", "received"),
    ("urn:xmpp:chat-markers:0", "displayed"),
    ("urn:xmpp:chat-markers:0", "acknowledged"),
    // XEP-0308, XEP-0444, XEP-0461, XEP-0424, XEP-0422: what is said about an earlier message.
    ("urn:xmpp:message-correct:0", "replace"),
    ("urn:xmpp:reactions:0", "reactions"),
    ("urn:xmpp:reply:0", "reply"),
    ("urn:xmpp:message-retract:0", "*"),
    ("urn:xmpp:message-retract:1", "*"),
    ("urn:xmpp:fasten:0", "*"),
    // XEP-0384, XEP-0373, XEP-0380: what only its recipients can read.
    ("urn:xmpp:omemo:2", "encrypted"),
    ("eu.siacs.conversations.axolotl", "encrypted"),
    ("urn:xmpp:openpgp:0", "openpgp"),
    ("jabber:x:encrypted", "x"),
    ("urn:xmpp:eme:0", "encryption"),
    // XEP-0249, XEP-0045 §7.8: invitations. XEP-0066, XEP-0447: files.
    ("jabber:x:conference", "x"),
    ("http://jabber.org/protocol/muc#user", "x"),
    ("jabber:x:oob", "x"),
    ("urn:xmpp:sfs:0", "file-sharing"),
    // XEP-0353, XEP-0482: calls that were made.
    ("urn:xmpp:jingle-message:0", "*"),
    ("urn:xmpp:call-invites:0", "*"),
];

/// Is this message part of a conversation?
pub(crate) fn belongs(stanza: &Stanza) -> bool {
    let Kind::Message(kind) = stanza.kind else {
        return false;
    };
    if matches!(kind, MessageType::Error | MessageType::Groupchat)
        || hint(stanza, "no-store")
        || hint(stanza, "no-permanent-store")
        || is_of_the_server(stanza)
    {
        return false;
    }
    if hint(stanza, "store") {
        return true;
    }
    kind != MessageType::Headline && converses(stanza)
}

/// Does it carry something without which a conversation is not whole?
pub(crate) fn converses(stanza: &Stanza) -> bool {
    stanza.children().iter().any(|child| {
        CONVERSATION
            .iter()
            .any(|(ns, name)| *ns == &*child.ns && (*name == "*" || *name == &*child.name))
    })
}

/// What a sender says of keeping a message (XEP-0334).
pub(crate) fn hint(stanza: &Stanza, name: &str) -> bool {
    stanza.has(ns::HINTS, name)
}

/// Copies of other messages, and what is kept elsewhere: the log has what MLS rooms say.
fn is_of_the_server(stanza: &Stanza) -> bool {
    stanza
        .children()
        .iter()
        .any(|child| matches!(&*child.ns, ns::MAM | ns::CARBONS) || child.ns.starts_with(ns::MLS))
}

#[cfg(test)]
mod tests {
    use comity_xmpp::element::Element;

    use super::*;

    #[track_caller]
    fn check(kind: MessageType, children: &[(&str, &str)], expected: bool) {
        let mut stanza = Stanza::new(Kind::Message(kind));
        for (ns, name) in children {
            stanza.push(&Element::new(*ns, *name));
        }
        assert_eq!(belongs(&stanza), expected, "{kind:?} {children:?}");
    }

    #[test]
    fn what_is_kept_and_what_is_not() {
        use MessageType::{Chat, Error, Groupchat, Headline, Normal};
        let body = (ns::CLIENT, "body");
        for kind in [Chat, Normal] {
            check(kind, &[body], true);
        }
        for kind in [Error, Groupchat, Headline] {
            check(kind, &[body], false);
        }
        check(Headline, &[body, (ns::HINTS, "store")], true);
        for kind in [Error, Groupchat] {
            check(kind, &[body, (ns::HINTS, "store")], false);
        }
        for (ns, name) in CONVERSATION {
            let name = if *name == "*" { "anything" } else { name };
            check(Chat, &[(ns, name)], true);
        }
        let typing = ("http://jabber.org/protocol/chatstates", "composing");
        for children in [
            &[typing] as &[_],
            &[],
            &[(ns::CLIENT, "thread")],
            &[("urn:xmpp:receipts", "request")],
            &[("urn:xmpp:chat-markers:0", "markable")],
            &[("urn:private", "x")],
            &[body, (ns::HINTS, "no-store")],
            &[body, (ns::HINTS, "no-permanent-store")],
            &[body, (ns::HINTS, "no-store"), (ns::HINTS, "store")],
            &[body, (ns::CARBONS, "sent")],
            &[body, (ns::MAM, "result")],
            &[body, (ns::MLS_ROOM, "entry")],
        ] {
            check(Chat, children, false);
        }
        check(Chat, &[typing, (ns::HINTS, "store")], true);
        check(Chat, &[body, (ns::HINTS, "no-copy")], true);
    }
}
