//! Members of two domains commit at once, again and again: one wins each epoch, the other
//! recovers by itself, and all end in the same epoch with the same secrets.

use integration::stage::Stage;

const ROUNDS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_races_end_in_agreement() {
    let stage = Stage::set("race", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Duel").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    let first = romeo.epoch(&room).await.unwrap();

    for round in 0..ROUNDS {
        let (his, hers) = tokio::join!(romeo.update(&room), juliet.update(&room));
        his.and(hers)
            .unwrap_or_else(|fault| panic!("round {round}: {fault}"));
    }
    // Each round ended two epochs: one commit each, whoever came first.
    let last = first + 2 * ROUNDS as u64;
    romeo.reaches(&room, last).await.unwrap();
    juliet.reaches(&room, last).await.unwrap();
    for person in [&romeo, &juliet] {
        assert_eq!(person.epoch(&room).await.unwrap(), last);
    }
    let theirs = (
        romeo.authenticator(&room).await.unwrap(),
        juliet.authenticator(&room).await.unwrap(),
    );
    assert_eq!(theirs.0, theirs.1);
    let races = romeo.retried() + juliet.retried();
    println!("{races} of {ROUNDS} rounds were races lost by somebody");
    assert!(
        races > ROUNDS / 4,
        "only {races} races: the commits did not meet"
    );
}
