use super::*;

fn query(items: &[Element]) -> Element {
    Element::new(ns::ROSTER, "query").with_children(items.iter().cloned())
}

fn entry(jid: &str) -> Element {
    Element::new(ns::ROSTER, "item").with_attr("jid", jid)
}

fn in_group(item: Element, group: &str) -> Element {
    item.with_child(Element::new(ns::ROSTER, "group").with_text(group))
}

fn read(items: &[Element]) -> Result<Wanted, StanzaCondition> {
    let account = BareJid::parse("romeo@a.example").unwrap();
    item_of(&query(items), &account).map_err(|error| error.condition)
}

#[test]
fn an_item_is_read() {
    let item = in_group(
        entry("juliet@a.example").with_attr("name", "Juliet"),
        "Loves",
    );
    // RFC 6121 §2.1.2.5: what a client says of the subscription is ignored, save `remove`.
    let item = item.with_attr("subscription", "both");
    assert_eq!(
        read(&[item]),
        Ok(Wanted::Set(Contact {
            contact: "juliet@a.example".to_owned(),
            name: Some("Juliet".to_owned()),
            groups: vec!["Loves".to_owned()],
            ..Contact::default()
        }))
    );
    let item = entry("juliet@a.example").with_attr("subscription", "remove");
    let juliet = BareJid::parse("juliet@a.example").unwrap();
    assert_eq!(read(&[item]), Ok(Wanted::Remove(juliet)));
}

/// RFC 6121 §2.3.3.
#[test]
fn what_is_no_item_is_refused() {
    use StanzaCondition::{BadRequest, JidMalformed, NotAcceptable, NotAllowed};
    assert_eq!(read(&[]), Err(BadRequest));
    assert_eq!(read(&[entry("a@b"), entry("c@d")]), Err(BadRequest));
    assert_eq!(read(&[Element::new(ns::ROSTER, "item")]), Err(BadRequest));
    assert_eq!(read(&[entry("@")]), Err(JidMalformed));
    assert_eq!(read(&[entry("a@b/c")]), Err(JidMalformed));
    assert_eq!(read(&[entry("romeo@a.example")]), Err(NotAllowed));
    assert_eq!(read(&[in_group(entry("a@b"), "")]), Err(NotAcceptable));
    assert_eq!(
        read(&[in_group(in_group(entry("a@b"), "g"), "g")]),
        Err(BadRequest)
    );
    let long = "x".repeat(NAME_BYTES + 1);
    assert_eq!(
        read(&[entry("a@b").with_attr("name", long.as_str())]),
        Err(NotAcceptable)
    );
    assert_eq!(read(&[in_group(entry("a@b"), &long)]), Err(NotAcceptable));
}
