//! The examples of `QUEUE.md` are XML, and what is said there is what the streams say.

use comity_xmpp::ns;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

#[test]
fn every_example_parses() {
    let document = include_str!("../QUEUE.md");
    let mut names = Vec::new();
    for example in document.split("```xml\n").skip(1) {
        let example = example.split("```").next().unwrap();
        let wrapped = format!("<all xmlns='{}'>{example}</all>", ns::SERVER);
        let mut header = Header::of(ns::SERVER);
        header
            .prefixes
            .push(("stream".to_owned(), ns::STREAM.to_owned()));
        let parsed = xml::parse(wrapped.as_bytes(), &header).unwrap();
        for element in parsed.elements() {
            names.push(element.name.clone());
            if element.ns == ns::QUEUE {
                let attribute = match element.name.as_str() {
                    "open" => "queue",
                    "held" | "next" => "number",
                    other => panic!("{other} is not of the queue"),
                };
                assert!(element.attr(attribute).is_some(), "{element}");
            }
        }
    }
    let expected = [
        "features", "open", "held", "enable", "enabled", "next", "message", "open", "held",
    ];
    assert_eq!(names, expected);
    assert!(document.contains(ns::QUEUE));
}
