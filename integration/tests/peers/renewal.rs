//! A certificate is renewed, with another key, while its domain talks with others. Nothing that is
//! said meanwhile is lost, and what begins afterwards begins with the new one.

use std::process::Command;
use std::time::Duration;

use integration::Home;
use integration::certificates::Shape;
use integration::network::play;

use crate::scene::{Found, authority, comity, logged, publish, resident, with};
use crate::speak;

const COUNT: usize = 400;

fn metrics(home: &Home) -> String {
    let address = home.web();
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--interface", "127.0.0.1"])
        .arg(format!("https://{address}/metrics"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// When the metrics say that the certificate ends.
fn until(home: &Home) -> u64 {
    let text = metrics(home);
    let name = "comity_certificate_not_after_seconds{domain=\"montague.example\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_certificate_is_renewed_while_federation_goes_on() {
    play("renewal", async |network| {
        let authority = authority(network);
        let (here, there) = (network.place(), network.place());
        publish(network, "montague.example", here, Found::StartTls).await;
        publish(network, "capulet.example", there, Found::StartTls).await;
        let ending = Shape {
            ends_soon: true,
            ..Shape::dns("montague.example")
        };
        let old = authority.issue("montague.example", &ending).unwrap();
        let old_pin = old.pin().unwrap();
        let home = with("montague.example", here, &authority, old.clone());
        let home = home.start(network).unwrap();
        let capulet = comity("capulet.example", there, &authority);
        let mut capulet = capulet.start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        let mut juliet = resident(&capulet, "juliet", &authority).await;
        speak::messages(&mut romeo, &mut juliet).await;
        logged(&home, &["our certificate ends soon", "montague.example"]).await;
        let before = until(&home);

        // In the middle of what both say, the files are replaced.
        let pause = Duration::from_millis(5);
        romeo.counts("juliet@capulet.example", 0..COUNT, pause);
        juliet.counts("romeo@montague.example", 0..COUNT, pause);
        tokio::time::sleep(pause * 100).await;
        let shape = Shape::dns("montague.example");
        let new = authority.issue("montague.example", &shape).unwrap();
        assert_eq!(new.chain, old.chain);
        let new_pin = new.pin().unwrap();
        assert_ne!(new_pin, old_pin);
        home.hang_up().unwrap();
        logged(&home, &["certificates were read again"]).await;
        let all: Vec<usize> = (0..COUNT).collect();
        let quiet = Duration::from_secs(20);
        let hers = romeo.numbers("juliet@capulet.example", COUNT - 1, quiet);
        assert_eq!(hers.await, all);
        let his = juliet.numbers("romeo@montague.example", COUNT - 1, quiet);
        assert_eq!(his.await, all);

        // The other domain believes the new key alone from now on; in both directions.
        capulet.stop().unwrap();
        let pinned = comity("capulet.example", there, &authority);
        let pinned = integration::comity::Comity {
            extra: format!("[s2s.peers]\n\"montague.example\" = {{ pins = [{new_pin:?}] }}\n"),
            ..pinned
        };
        let capulet = pinned.start(network).unwrap();
        let mut juliet = resident_again(&capulet, &authority.file()).await;
        speak::messages(&mut juliet, &mut romeo).await;
        speak::messages(&mut romeo, &mut juliet).await;
        // Looked at once a minute.
        let renewed = ["our certificate has been renewed", "montague.example"];
        tokio::time::sleep(Duration::from_secs(30)).await;
        logged(&home, &renewed).await;
        assert!(until(&home) > before + 86_400, "{}", metrics(&home));
    });
}

async fn resident_again(
    home: &Home,
    authority: &std::path::Path,
) -> integration::ordinary::Ordinary {
    let password = integration::stage::PASSWORD;
    let jid = format!("juliet@{}", home.domain());
    integration::ordinary::Ordinary::login(&jid, password, home.c2s(), authority).await
}
