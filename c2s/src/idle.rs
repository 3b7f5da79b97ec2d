//! What a client that nobody looks at need not be woken for (XEP-0352): presence, of which only the
//! last of each sender matters, and who is typing. It waits until something comes that matters, or
//! the client is looked at again; and then goes first.

use std::collections::VecDeque;
use std::sync::Arc;

use comity_xmpp::stanza::{Kind, PresenceType, Stanza};

/// Stanzas held back from one client; with more, all of them go.
const HELD: usize = 256;

/// XEP-0085.
const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0334.
const HINTS: &str = "urn:xmpp:hints";

#[derive(Debug, Default)]
pub(crate) struct Idle {
    held: VecDeque<Arc<Stanza>>,
}

impl Idle {
    /// Holds a stanza back, if it can wait and there is room; else it comes back.
    pub(crate) fn hold(&mut self, stanza: Arc<Stanza>) -> Result<(), Arc<Stanza>> {
        if !can_wait(&stanza) {
            return Err(stanza);
        }
        if matches!(stanza.kind, Kind::Presence(_)) {
            let same = |held: &Arc<Stanza>| {
                matches!(held.kind, Kind::Presence(_)) && held.from == stanza.from
            };
            self.held.retain(|held| !same(held));
        }
        if self.held.len() >= HELD {
            return Err(stanza);
        }
        self.held.push_back(stanza);
        Ok(())
    }

    /// What was held back, oldest first.
    pub(crate) fn take(&mut self) -> VecDeque<Arc<Stanza>> {
        std::mem::take(&mut self.held)
    }
}

fn can_wait(stanza: &Stanza) -> bool {
    match stanza.kind {
        Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => true,
        Kind::Message(_) => {
            let mut content = stanza
                .children()
                .iter()
                .filter(|child| &*child.name != "thread" && &*child.ns != HINTS)
                .peekable();
            content.peek().is_some() && content.all(|child| &*child.ns == CHAT_STATES)
        }
        Kind::Presence(_) | Kind::Iq(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use comity_xmpp::ns;
    use comity_xmpp::stream::Header;

    use super::*;

    fn stanza(text: &str) -> Arc<Stanza> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Arc::new(Stanza::parse(&bytes, &Header::of(ns::CLIENT)).unwrap())
    }

    #[test]
    fn what_can_wait() {
        let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        for (text, waits) in [
            ("<presence from='a@b/c'/>".to_owned(), true),
            (
                "<presence from='a@b/c' type='unavailable'/>".to_owned(),
                true,
            ),
            ("<presence from='a@b' type='subscribe'/>".to_owned(), false),
            (format!("<message from='a@b/c'>{typing}</message>"), true),
            (
                format!("<message from='a@b/c'>{typing}<body>x</body></message>"),
                false,
            ),
            (
                "<message from='a@b/c'><body>x</body></message>".to_owned(),
                false,
            ),
            ("<message from='a@b/c'/>".to_owned(), false),
            (
                "<iq from='a@b/c' type='get' id='1'><x xmlns='y'/></iq>".to_owned(),
                false,
            ),
        ] {
            assert_eq!(Idle::default().hold(stanza(&text)).is_ok(), waits, "{text}");
        }
    }

    #[test]
    fn of_each_sender_the_last_presence_and_no_more_than_so_many() {
        let mut idle = Idle::default();
        for text in [
            "<presence from='a@b/c'><show>away</show></presence>",
            "<presence from='a@b/d'/>",
            "<presence from='a@b/c' type='unavailable'/>",
        ] {
            idle.hold(stanza(text)).unwrap();
        }
        let held: Vec<_> = idle.take().iter().map(|held| held.kind).collect();
        let expected = [PresenceType::Available, PresenceType::Unavailable].map(Kind::Presence);
        assert_eq!(held, expected);
        for number in 0..HELD {
            idle.hold(stanza(&format!("<presence from='a@b/{number}'/>")))
                .unwrap();
        }
        assert!(idle.hold(stanza("<presence from='a@b/more'/>")).is_err());
        assert!(idle.hold(stanza("<presence from='a@b/0'/>")).is_ok());
    }
}
