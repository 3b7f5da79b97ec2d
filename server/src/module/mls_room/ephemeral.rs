//! Messages outside the log: to each domain once, and there to the devices that are syncing. Nothing
//! is written and nothing waits: who is away never learns of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Ephemeral, Member};
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{IqType, Kind, Stanza};

use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::{Context, Origin, Request};

/// From a room of ours to the domains of its members.
pub(super) fn spread(
    home: &Home,
    ephemeral: &Ephemeral,
    domains: BTreeSet<String>,
    deliveries: &mut Deliveries,
) {
    let payload = ephemeral.to_element();
    for domain in domains {
        if home.hosts.serves(&domain) {
            pass(home, ephemeral);
            continue;
        }
        let Ok(to) = Jid::parse(&domain) else {
            continue;
        };
        // An IQ is not kept for a domain that is away, and whether it came is all the same.
        deliveries.push(
            Stanza::new(Kind::Iq(IqType::Set))
                .with_from(ephemeral.room.clone())
                .with_to(to)
                .with_id(comity_net::random::id())
                .with(&payload),
        );
    }
}

/// From a hub elsewhere, for our devices.
pub(super) fn take(context: &Context, request: &Request) -> Deliveries {
    let refuse =
        |refusal: &Refusal| Deliveries::refuse(&request.stanza, &refusal.to_stanza_error());
    let ephemeral = match Ephemeral::from_element(&request.payload) {
        Ok(ephemeral) => ephemeral,
        Err(error) => return refuse(&Refusal::from(error)),
    };
    // Nobody else speaks for a room, and our own do not come this way.
    let from_room = request.from == *ephemeral.room.as_jid();
    if !from_room || !matches!(context.origin, Origin::Peer(_)) {
        return refuse(&Refusal::NoRoom);
    }
    pass(&context.home, &ephemeral);
    Deliveries::answer(request.stanza.result(Some(&Answer::Relayed.to_element())))
}

/// To our devices in the room, but for the one that sent it.
fn pass(home: &Home, ephemeral: &Ephemeral) {
    let sender = Member {
        account: ephemeral.sender.clone(),
        device: ephemeral.device,
    };
    let ephemeral = Arc::new(ephemeral.clone());
    home.services.rooms.feeds.pass(&ephemeral, &sender);
}
