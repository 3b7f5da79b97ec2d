//! Two domains talk while the CA of one of them is followed by another: no message is lost, new
//! people come, and the other domain follows without being asked.

use integration::stage::Stage;

/// The root of a domain as a home believes it.
fn root_of(stage: &Stage, home: usize, domain: &str) -> String {
    let peers = stage.homes[home].comity(&["peer", "roots"], "").unwrap();
    let line = peers.lines().find(|line| line.contains(domain));
    let line = line.unwrap_or_else(|| panic!("{domain} is not known: {peers}"));
    line.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_and_issuing_ca_change_under_a_conversation() {
    let domains = ["montague.example", "capulet.example"];
    let stage = Stage::set("rotation", &domains);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    romeo.send(&room, "before").await.unwrap();
    juliet.hears(&room, "before").await.unwrap();
    let first = root_of(&stage, 0, domains[0]);
    assert_eq!(root_of(&stage, 1, domains[0]), first);

    for (round, command) in ["rotate-issuing", "rotate-root", "rotate-root"]
        .iter()
        .enumerate()
    {
        let said = stage.homes[0].comity(&["ca", command], "").unwrap();
        assert!(said.contains("published"), "{said}");
        // Leaves of before and after talk, and neither notices.
        for (speaker, hearer) in [(&mut romeo, &mut juliet)] {
            let (one, other) = (format!("{command} {round}"), format!("heard {round}"));
            speaker.send(&room, &one).await.unwrap();
            hearer.hears(&room, &one).await.unwrap();
            hearer.send(&room, &other).await.unwrap();
            speaker.hears(&room, &other).await.unwrap();
        }
        // Somebody whom the new CA certifies comes, invited by the other domain.
        let name = ["mercutio", "benvolio", "balthasar"][round];
        let mut guest = stage.person(0, name).await.unwrap();
        romeo.invite(&room, guest.account()).await.unwrap();
        guest.joined(&room).await.unwrap();
        guest.send(&room, name).await.unwrap();
        juliet.hears(&room, name).await.unwrap();
        romeo.hears(&room, name).await.unwrap();
    }
    let last = root_of(&stage, 0, domains[0]);
    assert_ne!(last, first);
    assert_eq!(
        root_of(&stage, 1, domains[0]),
        last,
        "the peer has followed"
    );
    juliet.update(&room).await.unwrap();
    juliet.send(&room, "after").await.unwrap();
    romeo.hears(&room, "after").await.unwrap();
}
