//! Addresses against published vectors: PRECIS for localparts and resourceparts, IDNA for
//! domainparts.

use comity_xmpp::jid::Jid;

/// `\u{…}` stands for a character that a vector file does not write as it is.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\u{") {
        let (hex, after) = after.split_once('}').expect("an escape is closed");
        let number = u32::from_str_radix(hex, 16).expect("an escape is hexadecimal");
        out.push_str(before);
        out.push(char::from_u32(number).expect("an escape is a character"));
        rest = after;
    }
    out + rest
}

fn vectors(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('|').collect())
}

#[test]
fn precis() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for vector in vectors(include_str!("vectors/precis.txt")) {
        let [profile, input, output] = vector[..] else {
            panic!("{vector:?}")
        };
        let text = unescape(input);
        let mut expect = (output != "-").then(|| unescape(output));
        let found = match profile {
            "UsernameCaseMapped" => {
                // RFC 7622 §3.3.1.
                expect =
                    expect.filter(|name| !name.contains(['"', '&', '\'', '/', ':', '<', '>', '@']));
                Jid::from_parts(Some(&text), "a", None)
                    .map(|jid| jid.local().unwrap_or_default().to_owned())
            }
            _ => Jid::from_parts(None, "a", Some(&text))
                .map(|jid| jid.resource().unwrap_or_default().to_owned()),
        };
        count += 1;
        if found.as_ref().ok() != expect.as_ref() {
            wrong.push(format!("{profile} {input}: {found:?}, not {output}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn idna() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for vector in vectors(include_str!("vectors/idna.txt")) {
        let [input, output] = vector[..] else {
            panic!("{vector:?}")
        };
        let expect = (output != "-").then(|| unescape(output));
        let found = Jid::from_parts(None, &unescape(input), None);
        count += 1;
        if found.as_ref().ok().map(Jid::domain) != expect.as_deref() {
            wrong.push(format!("{input}: {found:?}, not {output}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
