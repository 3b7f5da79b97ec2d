//! A domain with a certificate of its own making is believed by those who know its key.

use integration::certificates::Shape;
use integration::network::play;
use serde_json::json;

use crate::scene::{Found, authority, careless, comity, logged, publish, resident, with};
use crate::speak;

#[test]
fn a_pinned_key_is_believed_and_no_other() {
    play("pins", async |network| {
        let authority = authority(network);
        let [here, there, else_where] = [(); 3].map(|()| network.place());
        publish(network, "montague.example", here, Found::StartTls).await;
        publish(network, "capulet.example", there, Found::StartTls).await;
        publish(network, "paris.example", else_where, Found::StartTls).await;
        let alone = Shape {
            self_signed: true,
            expired: true,
            ..Shape::default()
        };
        let certificate = authority.issue("capulet.example", &alone).unwrap();
        let pins = certificate.pin().unwrap();
        let capulet = with("capulet.example", there, &authority, certificate);
        let capulet = capulet.start(network).unwrap();
        // A good certificate, but not the one that was pinned.
        let paris = comity("paris.example", else_where, &authority);
        let paris = paris.start(network).unwrap();

        let mut home = comity("montague.example", here, &authority);
        home.extra = format!(
            "[s2s.peers]\n\"capulet.example\" = {{ policy = \"require\", pins = [{pins:?}] }}\n\
             \"paris.example\" = {{ pins = [{pins:?}] }}\n"
        );
        let home = home.start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        let mut juliet = careless(&capulet, "juliet").await;
        speak::messages(&mut romeo, &mut juliet).await;

        let ping = json!({"do": "ping", "to": "paris.example"});
        romeo.order(&ping).unwrap();
        romeo
            .until(&json!({"event": "error", "from": "paris.example"}))
            .await;
        let words = [
            "no stream to the peer",
            "not the one pinned for paris.example",
        ];
        logged(&home, &words).await;
        let mut tybalt = careless(&paris, "tybalt").await;
        tybalt.says("romeo@montague.example", "Is he here?");
        let words = [
            "no peer came of a connection",
            "not the one pinned for paris.example",
        ];
        logged(&home, &words).await;
    });
}
