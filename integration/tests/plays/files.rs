//! Romeo sends Juliet a file: sealed, over the server's HTTP upload, and through a proxy. What the
//! server keeps tells it nothing, what it changes is not kept, and what others send is not believed to
//! be a place.

use std::path::{Path, PathBuf};

use comity_client::act::Act;
use comity_client::agent::Update;
use comity_client::connection::Options;
use comity_client::content;
use comity_client::files::attachment::Attachment;
use comity_client::files::{self, FileError};
use comity_client::stream::Login;
use comity_mls_engine::{Event, What};
use comity_xmpp::jid::BareJid;
use integration::Home;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

fn options(home: &Home, person: &Person) -> Options {
    Options {
        login: Login {
            account: person.account().clone(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: home.roots(),
        proxy: None,
    }
}

/// Every file below a folder.
fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(all_files(&path)),
            path => found.push(path),
        }
    }
    found
}

async fn sent_file(person: &mut Person, room: &BareJid) -> Attachment {
    let file = person.until("a file", |update| match update {
        Update::Engine(Event::Item { item, .. }) => match &item.what {
            What::Message(message) => {
                let content = content::open_message(room, message).ok()?;
                match Act::of(&content.elements) {
                    Act::File(file) => Some(*file),
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    });
    file.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_sealed_from_one_to_the_other() {
    let stage = Stage::set_with(
        "files",
        &["montague.example"],
        "[uploads]\nfile_bytes = 2000000\n",
    );
    let home = &stage.homes[0];
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(0, "juliet").await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    let hers = juliet.account().clone();
    romeo.invite(&room, &hers).await.unwrap();
    juliet.joined(&room).await.unwrap();

    let letter = stage.folder().join("letter.txt");
    let words = "But soft, what light through yonder window breaks? ".repeat(20_000);
    std::fs::write(&letter, &words).unwrap();
    let his = options(home, &romeo);
    let sent = files::send(romeo.chat(), &his, &room, &letter).await;
    sent.unwrap();
    let file = sent_file(&mut juliet, &room).await;
    assert_eq!(file.name, "letter.txt");
    assert_eq!(
        (file.media_type.as_str(), file.size),
        ("text/plain", words.len() as u64)
    );

    // The server has one file, of another length, in which nothing can be read.
    let kept = all_files(&home.data().join("uploads"));
    let [kept] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    let there = std::fs::read(kept).unwrap();
    assert!(there.len() as u64 > file.size);
    assert!(!there.windows(9).any(|some| some == b"But soft,"));
    assert!(!file.url.contains("letter"), "{}", file.url);

    let folder = stage.folder().join("downloads");
    std::fs::create_dir(&folder).unwrap();
    let her = options(home, &juliet);
    let saved = files::save(&her, &file, &folder).await.unwrap();
    assert_eq!(saved, folder.join("letter.txt"));
    assert_eq!(std::fs::read_to_string(&saved).unwrap(), words);
    // Again: beside it, and not over it.
    let again = files::save(&her, &file, &folder).await.unwrap();
    assert_eq!(again, folder.join("letter (1).txt"));

    what_is_changed_is_not_kept(&her, &file, kept, &folder).await;

    let large = stage.folder().join("large");
    std::fs::write(&large, vec![0; 3_000_000]).unwrap();
    let refused = files::send(romeo.chat(), &his, &room, &large).await;
    assert!(
        matches!(
            refused,
            Err(FileError::ServerTooLarge {
                most: 2_000_000,
                ..
            })
        ),
        "{refused:?}"
    );
    // An ordinary link, for those whose clients know no rooms (XEP-0066).
    let to = juliet.account().clone().into();
    let plain = files::send_plain(romeo.chat(), &his, to, &letter).await;
    plain.unwrap();
    let link = juliet.until("a link", |update| match update {
        Update::Plain { body, .. } => Some(body.clone()),
        _ => None,
    });
    let link = link.await.unwrap();
    assert!(
        link.starts_with("https://montague.example:5443/upload/"),
        "{link}"
    );
    assert!(link.ends_with("/letter.txt"), "{link}");
}

/// By the server, which may do with its disk what it likes; and by a member, who may write what it
/// likes.
async fn what_is_changed_is_not_kept(her: &Options, file: &Attachment, kept: &Path, folder: &Path) {
    let mut there = std::fs::read(kept).unwrap();
    there[70_000] ^= 1;
    std::fs::write(kept, &there).unwrap();
    let forged = files::save(her, file, folder).await;
    assert!(matches!(forged, Err(FileError::Forged(_))), "{forged:?}");
    std::fs::remove_file(kept).unwrap();
    let gone = files::save(her, file, folder).await.unwrap_err();
    assert!(gone.to_string().contains("no longer there"), "{gone}");
    // A door inside the network of whoever fetches.
    let inside = Attachment {
        url: "https://127.0.0.1:5443/upload/x".to_owned(),
        ..file.clone()
    };
    let refused = files::save(her, &inside, folder).await.unwrap_err();
    assert!(
        refused.to_string().contains("only your own server"),
        "{refused}"
    );
    let left = all_files(folder);
    assert_eq!(left.len(), 2, "{left:?}");
}
