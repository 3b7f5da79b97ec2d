//! Whether a server keeps anything it must not know: a search of all its files for words.

use std::io;
use std::path::Path;

use crate::home::Home;

/// Searches a home's data directory and log for the words, as they are and as base64 would have
/// them. How many octets were searched; an error names the file that has one.
pub fn search(home: &Home, words: &[&str]) -> io::Result<u64> {
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for word in words {
        needles.push(word.as_bytes().to_vec());
        needles.extend(encoded(word.as_bytes()));
    }
    let mut searched = search_file(&home.log(), &needles)?;
    let mut folders = vec![home.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => searched += search_file(&entry.path(), &needles)?,
                // The admin socket.
                _ => {}
            }
        }
    }
    Ok(searched)
}

/// As [`search`], in the log alone: what servers may keep for their people and must not write down.
pub fn search_log(home: &Home, words: &[&str]) -> io::Result<u64> {
    let needles: Vec<Vec<u8>> = words
        .iter()
        .flat_map(|word| {
            let mut all = encoded(word.as_bytes());
            all.push(word.as_bytes().to_vec());
            all
        })
        .collect();
    search_file(&home.log(), &needles)
}

fn search_file(path: &Path, needles: &[Vec<u8>]) -> io::Result<u64> {
    let bytes = std::fs::read(path)?;
    for needle in needles {
        if bytes.windows(needle.len()).any(|window| window == needle) {
            let what = String::from_utf8_lossy(needle);
            return Err(io::Error::other(format!(
                "{} holds “{what}”",
                path.display()
            )));
        }
    }
    Ok(bytes.len() as u64)
}

/// The base64 of a text inside a longer one: three alignments, less the characters at the edges
/// that its neighbours share.
fn encoded(text: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    (0..3)
        .map(|shift| {
            let padded = [&vec![0; shift][..], text].concat();
            let whole = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
            let begin = [0, 2, 3][shift];
            whole.as_bytes()[begin..whole.len() - 1].to_vec()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn base64_is_found_at_every_alignment() {
        for before in ["", "x", "xy", "xyz"] {
            let whole = format!("{before}attack at dawn, and more");
            let whole = base64::engine::general_purpose::STANDARD.encode(whole);
            let found = encoded(b"attack at dawn").into_iter().any(|needle| {
                whole
                    .as_bytes()
                    .windows(needle.len())
                    .any(|window| window == needle)
            });
            assert!(found, "{whole}");
        }
    }
}
