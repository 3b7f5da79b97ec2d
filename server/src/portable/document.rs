//! Reads a file of XEP-0227 with the files it includes (§5), strictly: no document types, no entities
//! of their own, nothing outside the file's directory.

use std::io;
use std::path::{Component, Path, PathBuf};

use comity_xmpp::element::{Element, Node};
use comity_xmpp::stream::Header;
use comity_xmpp::{ns, xml};

const XINCLUDE: &str = "http://www.w3.org/2001/XInclude";
/// Octets of one file. A tree of it takes some times as much memory.
const FILE_LIMIT: u64 = 512 * 1024 * 1024;
/// Main file, host, user, and what a user splits off.
const DEPTH_LIMIT: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("{} cannot be read: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{} has more than {FILE_LIMIT} octets: split it by XInclude, a file for each user", .0.display())]
    TooLarge(PathBuf),
    #[error("{}: {why}", file.display())]
    Malformed { file: PathBuf, why: String },
}

/// # Errors
/// Which file cannot be read, and why.
pub fn load(file: &Path) -> Result<Element, DocumentError> {
    load_at(file, 0)
}

fn load_at(file: &Path, depth: usize) -> Result<Element, DocumentError> {
    let unreadable = |source| DocumentError::Unreadable {
        file: file.to_owned(),
        source,
    };
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_LIMIT {
        return Err(DocumentError::TooLarge(file.to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let malformed = |why: String| DocumentError::Malformed {
        file: file.to_owned(),
        why,
    };
    let plain = without_comments(&text).map_err(malformed)?;
    let element = xml::parse(plain.trim().as_bytes(), &Header::of(ns::CLIENT));
    let element = element.map_err(|error| malformed(error.to_string()))?;
    include(element, file, depth)
}

/// Puts what is included in its place.
fn include(mut element: Element, file: &Path, depth: usize) -> Result<Element, DocumentError> {
    // No deeper than users: what stands inside their data is theirs.
    if depth > DEPTH_LIMIT || !element.children.iter().any(holds_inclusion) {
        return Ok(element);
    }
    let malformed = |why: &str| DocumentError::Malformed {
        file: file.to_owned(),
        why: why.to_owned(),
    };
    for child in &mut element.children {
        let Node::Element(child) = child else {
            continue;
        };
        if !child.is(XINCLUDE, "include") {
            *child = include(std::mem::replace(child, Element::new("", "")), file, depth)?;
            continue;
        }
        if depth == DEPTH_LIMIT {
            return Err(malformed("files include each other too deeply"));
        }
        let href = child.attr("href").unwrap_or_default();
        if href.is_empty() || child.attr("parse").is_some() || child.attr("xpointer").is_some() {
            return Err(malformed(
                "an inclusion needs href, and neither parse nor xpointer",
            ));
        }
        let inside = Path::new(href)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(malformed(
                "an inclusion leads out of the directory of its file",
            ));
        }
        let beside = file.parent().unwrap_or(Path::new("")).join(href);
        *child = load_at(&beside, depth + 1)?;
    }
    Ok(element)
}

fn holds_inclusion(node: &Node) -> bool {
    match node {
        Node::Text(_) => false,
        Node::Element(element) => {
            element.is(XINCLUDE, "include") || element.children.iter().any(holds_inclusion)
        }
    }
}

/// The parser is that of streams, which have neither declarations nor comments (RFC 6120 §11.1).
fn without_comments(text: &str) -> Result<String, String> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let mut rest = match text.strip_prefix("<?xml") {
        Some(declared) => {
            let (_, rest) = declared
                .split_once("?>")
                .ok_or("its first line has no end")?;
            rest
        }
        None => text,
    };
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find("<!") {
        let (before, markup) = rest.split_at(at);
        out.push_str(before);
        let (end, keep) = match markup {
            comment if comment.starts_with("<!--") => ("-->", false),
            cdata if cdata.starts_with("<![CDATA[") => ("]]>", true),
            _ => return Err("it has a document type, which may hide anything: remove it".into()),
        };
        let length = markup.find(end).ok_or("a comment or CDATA has no end")? + end.len();
        if keep {
            out.push_str(&markup[..length]);
        }
        rest = &markup[length..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_data_stays() {
        let cases = [
            ("<a/>", Ok("<a/>")),
            ("\u{feff}<?xml version='1.0'?>\n<a/>", Ok("\n<a/>")),
            ("<a><!-- <b> --><c/></a>", Ok("<a><c/></a>")),
            (
                "<a><![CDATA[<!-- no -->]]></a>",
                Ok("<a><![CDATA[<!-- no -->]]></a>"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(without_comments(text), expected.map(str::to_owned));
        }
        for text in [
            "<!DOCTYPE a><a/>",
            "<a><!-- </a>",
            "<?xml <a/>",
            "<!ENTITY x 'y'><a/>",
        ] {
            assert!(without_comments(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_included_from_their_own_directory_alone() {
        let folder = std::env::temp_dir().join(format!("comity-xi-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let including = |href: &str| {
            format!("<a xmlns='x' xmlns:xi='{XINCLUDE}'><xi:include href='{href}'/></a>")
        };
        write("main.xml", &including("sub/b.xml"));
        write("sub/b.xml", "<?xml version='1.0'?><b xmlns='x'/>");
        let found = load(&folder.join("main.xml")).unwrap();
        assert!(found.child("x", "b").is_some());
        write("round.xml", &including("round.xml"));
        for href in ["../b.xml", "/etc/passwd", "", "none.xml"] {
            write("bad.xml", &including(href));
            assert!(load(&folder.join("bad.xml")).is_err(), "{href}");
        }
        assert!(load(&folder.join("round.xml")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
