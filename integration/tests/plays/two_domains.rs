//! Romeo and Juliet, of two domains, talk; neither server can read it.

use integration::secrecy;
use integration::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn two_domains_one_encrypted_conversation() {
    let stage = Stage::set("conversation", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();

    let (hers, his) = (
        "What's in a name?",
        "Call me but love, and I'll be new baptized",
    );
    juliet.send(&room, hers).await.unwrap();
    romeo.hears(&room, hers).await.unwrap();
    romeo.update(&room).await.unwrap();
    romeo.send(&room, his).await.unwrap();
    juliet.hears(&room, his).await.unwrap();

    let epoch = romeo.epoch(&room).await.unwrap();
    juliet.reaches(&room, epoch).await.unwrap();
    let theirs = (
        romeo.authenticator(&room).await.unwrap(),
        juliet.authenticator(&room).await.unwrap(),
    );
    assert_eq!(theirs.0, theirs.1);
    for home in &stage.homes {
        let searched = secrecy::search(home, &[hers, his, "Balcony"]).unwrap();
        assert!(
            searched > 100_000,
            "only {searched} octets: was that the whole database?"
        );
        // The search can find: the account is there.
        assert!(
            secrecy::search(
                home,
                &[if home.domain() == "montague.example" {
                    "romeo"
                } else {
                    "juliet"
                }]
            )
            .is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_put_out_reads_no_more_and_somebody_who_leaves_is_gone() {
    let stage = Stage::set("departure", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut paris = stage.person(1, "paris").await.unwrap();
    let room = romeo.create_room("Feast").await.unwrap();
    for guest in [&juliet, &paris] {
        romeo.invite(&room, guest.account()).await.unwrap();
    }
    juliet.joined(&room).await.unwrap();
    paris.joined(&room).await.unwrap();

    romeo.remove(&room, paris.account()).await.unwrap();
    paris.left(&room).await.unwrap();
    romeo.send(&room, "Is he gone?").await.unwrap();
    juliet.hears(&room, "Is he gone?").await.unwrap();
    assert!(
        paris.post(&room, "I am not").await.is_err(),
        "who was put out cannot send"
    );

    juliet.leave(&room).await.unwrap();
    romeo.send(&room, "Alone").await.unwrap();
    assert_eq!(romeo.members(&room).await.unwrap().len(), 1);
}
