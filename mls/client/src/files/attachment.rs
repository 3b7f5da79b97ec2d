//! How a message names a file: `<file-sharing/>` (XEP-0447) with `<encrypted/>` (XEP-0448) as its
//! source, so that whoever reads the message can fetch and open it, and nobody else.

use comity_xmpp::element::Element;
use comity_xmpp::sasl::{decode, encode};

use super::{MAX_FILE, place};

const SHARING: &str = "urn:xmpp:sfs:0";
const METADATA: &str = "urn:xmpp:file:metadata:0";
const ENCRYPTED: &str = "urn:xmpp:esfs:0";
const HASHES: &str = "urn:xmpp:hashes:2";
const URL_DATA: &str = "http://jabber.org/protocol/url-data";
/// AES-256-GCM, the tag behind the text (XEP-0448 §3).
const CIPHER: &str = "urn:xmpp:ciphers:aes-256-gcm-nopadding:0";

/// What the server is told that it is.
pub const SEALED_TYPE: &str = "application/octet-stream";
/// Octets of a URL.
const MAX_URL: usize = 2_048;
const MAX_MEDIA_TYPE: usize = 127;

/// A file that somebody has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// A name and no place, whatever its sender wrote.
    pub name: String,
    pub media_type: String,
    pub size: u64,
    /// SHA-256 of the file, and of what is sealed.
    pub hash: [u8; 32],
    pub sealed_hash: [u8; 32],
    pub key: Secret,
    pub iv: [u8; 12],
    pub url: String,
}

/// The key of one file. It does not belong into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Attachment {
    /// What an envelope's elements say of a file, if all of it can be used.
    #[must_use]
    pub fn of(elements: &[Element]) -> Option<Self> {
        let sharing = elements.iter().find(|e| e.is(SHARING, "file-sharing"))?;
        let file = sharing.child(METADATA, "file")?;
        let text = |name: &str| file.child(METADATA, name).map(Element::text);
        let sealed = sharing
            .child(SHARING, "sources")?
            .child(ENCRYPTED, "encrypted")?;
        if sealed.attr("cipher") != Some(CIPHER) {
            return None;
        }
        let secret = |name: &str| decode(sealed.child(ENCRYPTED, name)?.text().trim()).ok();
        let url = sealed
            .child(SHARING, "sources")?
            .child(URL_DATA, "url-data")?
            .attr("target")?;
        let size = text("size")?.trim().parse().ok()?;
        let media_type = text("media-type").unwrap_or_default();
        let fits = size <= MAX_FILE && url.len() <= MAX_URL && url.starts_with("https://");
        fits.then(|| {
            Some(Self {
                name: place::safe_name(&text("name").unwrap_or_default()),
                media_type: match media_type.len() {
                    1..=MAX_MEDIA_TYPE => media_type,
                    _ => SEALED_TYPE.to_owned(),
                },
                size,
                hash: hash(file)?,
                sealed_hash: hash(sealed)?,
                key: Secret(secret("key")?.try_into().ok()?),
                iv: secret("iv")?.try_into().ok()?,
                url: url.to_owned(),
            })
        })
        .flatten()
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let about = |name: &str, text: &str| Element::new(METADATA, name).with_text(text);
        let file = Element::new(METADATA, "file")
            .with_child(about("media-type", &self.media_type))
            .with_child(about("name", &self.name))
            .with_child(about("size", &self.size.to_string()))
            .with_child(hashed(&self.hash));
        let url = Element::new(URL_DATA, "url-data").with_attr("target", self.url.as_str());
        let secret =
            |name: &str, octets: &[u8]| Element::new(ENCRYPTED, name).with_text(encode(octets));
        let sealed = Element::new(ENCRYPTED, "encrypted")
            .with_attr("cipher", CIPHER)
            .with_child(secret("key", &self.key.0))
            .with_child(secret("iv", &self.iv))
            .with_child(hashed(&self.sealed_hash))
            .with_child(Element::new(SHARING, "sources").with_child(url));
        Element::new(SHARING, "file-sharing")
            .with_attr("disposition", "attachment")
            .with_child(file)
            .with_child(Element::new(SHARING, "sources").with_child(sealed))
    }

    /// What it is, for people: `tea.jpg (image/jpeg, 12 KiB)`.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} ({}, {})", self.name, self.media_type, octets(self.size))
    }
}

fn hashed(hash: &[u8; 32]) -> Element {
    Element::new(HASHES, "hash")
        .with_attr("algo", "sha-256")
        .with_text(encode(hash))
}

fn hash(of: &Element) -> Option<[u8; 32]> {
    let mut all = of.children_named(HASHES, "hash");
    let found = all.find(|hash| hash.attr("algo") == Some("sha-256"))?;
    decode(found.text().trim()).ok()?.try_into().ok()
}

/// A number of octets, for people.
#[must_use]
pub fn octets(count: u64) -> String {
    let (mut whole, mut unit) = (count, 0);
    while whole >= 10 * 1024 && unit < 3 {
        whole /= 1024;
        unit += 1;
    }
    format!("{whole} {}", ["octets", "KiB", "MiB", "GiB"][unit])
}

/// By the end of its name: it is a hint to whoever shows it, and nothing depends on it.
#[must_use]
pub fn media_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    match end.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "heic" => "image/heic",
        "svg" => "image/svg+xml",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mkv" => "video/matroska",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "m4a" => "audio/mp4",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "json" => "application/json",
        _ => SEALED_TYPE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Attachment {
        Attachment {
            name: "tea.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            size: 12_345,
            hash: [1; 32],
            sealed_hash: [2; 32],
            key: Secret([3; 32]),
            iv: [4; 12],
            url: "https://a.example:5443/upload/00/sealed".to_owned(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let element = file().to_element();
        assert_eq!(Attachment::of(&[element]), Some(file()));
        assert_eq!(file().words(), "tea.jpg (image/jpeg, 12 KiB)");
        assert!(!format!("{:?}", file()).contains("3, 3"), "a key in a log");
    }

    /// A member that means harm writes what it likes.
    #[test]
    fn what_cannot_be_used_is_no_file_and_names_lead_nowhere() {
        let with = |change: &dyn Fn(&mut Attachment)| {
            let mut file = file();
            change(&mut file);
            Attachment::of(&[file.to_element()])
        };
        for (what, found) in [
            (
                "another scheme",
                with(&|f| f.url = "http://a.example/x".into()),
            ),
            (
                "a local file",
                with(&|f| f.url = "file:///etc/passwd".into()),
            ),
            (
                "a long URL",
                with(&|f| f.url = format!("https://a/{}", "x".repeat(3000))),
            ),
            ("a large file", with(&|f| f.size = u64::MAX)),
        ] {
            assert_eq!(found, None, "{what}");
        }
        for (name, safe) in [
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("/etc/passwd", "passwd"),
            ("..\\..\\a.exe", "a.exe"),
            (".bashrc", "bashrc"),
            ("", "file"),
            ("a\u{1b}[2J\u{202e}gpj.exe", "a_[2J_gpj.exe"),
        ] {
            let found = with(&|f| f.name = name.to_owned()).unwrap();
            assert_eq!(found.name, safe);
        }
        let short = file().to_element();
        let text = |element: &Element| {
            let mut out = bytes::BytesMut::new();
            comity_xmpp::xml::write(element, comity_xmpp::ns::CLIENT, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        let whole = text(&short);
        let header = comity_xmpp::stream::Header::of(comity_xmpp::ns::CLIENT);
        for (from, to) in [
            ("aes-256-gcm-nopadding", "none"),
            ("sha-256", "md5"),
            (">12345<", ">-1<"),
            (&format!(">{}<", encode(&[3; 32])), ">AAAA<"),
            (&format!(">{}<", encode(&[4; 12])), ">?<"),
            ("url-data", "other"),
        ] {
            assert!(whole.contains(from), "{from} in {whole}");
            let odd = whole.replace(from, to);
            let odd = comity_xmpp::xml::parse(odd.as_bytes(), &header).unwrap();
            assert_eq!(Attachment::of(&[odd]), None, "{from}");
        }
    }
}
