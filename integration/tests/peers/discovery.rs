//! What the DNS may say of a domain, and what comes of it.

use std::net::{IpAddr, Ipv4Addr};

use integration::Home;
use integration::certificates::Authority;
use integration::dns::Dns;
use integration::network::{Network, Place, play};
use integration::ordinary::Ordinary;
use serde_json::json;

use crate::scene::{Found, authority, comity, logged, publish, resident};
use crate::speak;

const THEIRS: &str = "_xmpp-server._tcp.capulet.example";

/// Ours at montague.example, with its records; capulet.example without any.
struct Scene {
    homes: [Home; 2],
    there: Place,
    romeo: Ordinary,
    juliet: Ordinary,
    authority: Authority,
}

impl Scene {
    /// `ours` are further lines of Romeo's `[server]` and `[s2s]`.
    async fn set(network: &Network, ours: (&str, &str)) -> Self {
        let authority = authority(network);
        let (here, there) = (network.place(), network.place());
        publish(network, "montague.example", here, Found::StartTls).await;
        let mut montague = comity("montague.example", here, &authority);
        ours.0.clone_into(&mut montague.server);
        ours.1.clone_into(&mut montague.s2s);
        let montague = montague.start(network).unwrap();
        let capulet = comity("capulet.example", there, &authority);
        let capulet = capulet.start(network).unwrap();
        Self {
            romeo: resident(&montague, "romeo", &authority).await,
            juliet: resident(&capulet, "juliet", &authority).await,
            homes: [montague, capulet],
            there,
            authority,
        }
    }

    async fn talk(&mut self) {
        speak::messages(&mut self.romeo, &mut self.juliet).await;
    }

    /// What comes back of an IQ to the other domain.
    async fn refused(&mut self, condition: &str) {
        let ping = json!({"do": "ping", "to": "capulet.example"});
        self.romeo.order(&ping).unwrap();
        let error = json!({"event": "error", "from": "capulet.example", "condition": condition});
        self.romeo.until(&error).await;
    }
}

#[test]
fn the_targets_of_a_lower_priority_are_tried_when_the_others_fail() {
    play("priorities", async |network| {
        let mut scene = Scene::set(network, ("", "")).await;
        let dns = &network.dns;
        // Nobody listens there; no such address; no such name; and at last the server.
        dns.srv(THEIRS, (1, 0), "xmpp.capulet.example", 5299).await;
        dns.srv(THEIRS, (2, 0), "gone.capulet.example", 5269).await;
        dns.srv(THEIRS, (3, 0), "unknown.capulet.example", 5269)
            .await;
        dns.srv(THEIRS, (4, 0), "alias.capulet.example", 5269).await;
        let gone = IpAddr::from(Ipv4Addr::new(198, 51, 100, 1));
        dns.host("gone.capulet.example", gone).await;
        // RFC 2782 forbids a target that is an alias; many are, and nobody minds.
        dns.alias("alias.capulet.example", "xmpp.capulet.example")
            .await;
        network.host("xmpp.capulet.example", scene.there).await;
        scene.talk().await;
        logged(&scene.homes[0], &["INFO", "host=alias.capulet.example"]).await;
    });
}

#[test]
fn an_address_of_one_family_that_is_dead_leaves_the_other() {
    play("families", async |network| {
        let mut scene = Scene::set(network, ("", "")).await;
        network
            .dns
            .srv(THEIRS, (1, 0), "xmpp.capulet.example", 5269)
            .await;
        network
            .dns
            .host("xmpp.capulet.example", scene.there.v4.into())
            .await;
        let dead = "2001:db8::dead".parse().unwrap();
        network.dns.host("xmpp.capulet.example", dead).await;
        scene.talk().await;
    });
}

#[test]
fn a_domain_that_says_it_has_no_server_is_believed() {
    play("none", async |network| {
        let mut scene = Scene::set(network, ("", "")).await;
        network.dns.srv(THEIRS, (0, 0), ".", 0).await;
        // There is a server where a domain without records would have it.
        network.host("capulet.example", scene.there).await;
        scene.refused("remote-server-not-found").await;
        logged(&scene.homes[0], &["offers no XMPP service"]).await;
    });
}

#[test]
fn a_record_that_leads_to_this_machine_is_not_followed() {
    play("private", async |network| {
        let mut scene = Scene::set(network, ("", "")).await;
        network
            .dns
            .srv(THEIRS, (0, 0), "inside.capulet.example", 5269)
            .await;
        let inside = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
        network.assign(inside);
        network.dns.host("inside.capulet.example", inside).await;
        scene.refused("remote-server-not-found").await;
        logged(
            &scene.homes[0],
            &["10.0.0.1, a private address", "s2s.private_addresses"],
        )
        .await;
    });
}

#[test]
fn a_record_that_leads_to_this_machine_is_followed_where_the_operator_says_so() {
    play("private-allowed", async |network| {
        let mut scene = Scene::set(network, ("", "private_addresses = true")).await;
        let inside = Place {
            v4: Ipv4Addr::new(10, 0, 0, 1),
            ..scene.there
        };
        network.assign(inside.v4.into());
        network
            .dns
            .srv(THEIRS, (0, 0), "inside.tybalt.example", 5269)
            .await;
        network
            .dns
            .host("inside.tybalt.example", inside.v4.into())
            .await;
        // The same domain, at home in the private network.
        scene.homes[1].stop().unwrap();
        let capulet = comity("capulet.example", inside, &scene.authority);
        scene.homes[1] = capulet.start(network).unwrap();
        assert_eq!(scene.romeo.asks("ping", "capulet.example").await, "pong");
    });
}

/// RFC 6698 needs DNSSEC, which is not asked for: a record that nobody has signed proves nothing.
#[test]
fn a_tlsa_record_changes_nothing() {
    play("tlsa", async |network| {
        let mut scene = Scene::set(network, ("", "")).await;
        publish(network, "capulet.example", scene.there, Found::StartTls).await;
        let name = "_5269._tcp.xmpp.capulet.example";
        network.dns.impossible_tlsa(name).await;
        scene.talk().await;
    });
}

#[test]
fn the_name_servers_of_the_configuration_go_before_those_of_the_system() {
    play("nameservers", async |network| {
        let other = IpAddr::from(Ipv4Addr::new(192, 0, 2, 200));
        network.assign(other);
        let dns = Dns::start(other).await.unwrap();
        let named = ("nameservers = [\"192.0.2.200:53\"]", "");
        let mut scene = Scene::set(network, named).await;
        // The system's would lead nowhere.
        network.dns.srv(THEIRS, (0, 0), ".", 0).await;
        dns.srv(THEIRS, (0, 0), "xmpp.capulet.example", 5269).await;
        dns.host("xmpp.capulet.example", scene.there.v4.into())
            .await;
        assert_eq!(scene.romeo.asks("ping", "capulet.example").await, "pong");
    });
}
