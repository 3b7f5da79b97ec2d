//! XEP-0359: the name by which an account's archive knows a message. Nobody but the account's own
//! server gives it, so that a client can believe it.

use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;

const STANZA_ID: &str = "stanza-id";

/// Takes away what claims to be given by this account; what others have given stays, and so does
/// the sender's `<origin-id/>`.
pub(crate) fn take_away(stanza: &mut Stanza, account: &BareJid) {
    let claims: Vec<_> = stanza
        .children()
        .iter()
        .filter(|child| &*child.ns == ns::SID && &*child.name == STANZA_ID)
        .filter(|child| {
            let by = stanza.element(child).attr("by").map(Jid::parse);
            // However it is written.
            matches!(by, Some(Ok(by)) if by == *account.as_jid())
        })
        .map(|child| child.range.clone())
        .collect();
    if !claims.is_empty() {
        stanza.remove(|child| claims.contains(&child.range));
    }
}

pub(crate) fn give(stanza: &mut Stanza, account: &BareJid, uid: &str) {
    stanza.push(
        &Element::new(ns::SID, STANZA_ID)
            .with_attr("by", account.as_str())
            .with_attr("id", uid),
    );
}

/// A message as an account's archive knows it.
pub(crate) fn named(stanza: &Stanza, account: &BareJid, uid: &str) -> Stanza {
    let mut named = stanza.clone();
    take_away(&mut named, account);
    give(&mut named, account, uid);
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::stanza;

    #[test]
    fn what_claims_to_be_ours_goes_and_nothing_else() {
        let id = |by| format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='x'/>");
        let origin = "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>";
        let others = [
            "b@b.example",
            "a@a.example/x",
            "a.example",
            "not an address@",
        ]
        .map(id);
        let others = others.concat();
        let ours = id("a@a.example");
        let written = id("A@A.example");
        let twice =
            format!("<message>{ours}<body>x</body>{others}{written}{origin}{ours}</message>");
        let mut message = stanza(&twice);
        take_away(&mut message, &BareJid::parse("a@a.example").unwrap());
        let expected = format!("<message><body>x</body>{others}{origin}</message>");
        assert_eq!(message.payload(), stanza(&expected).payload());
    }
}
