//! XEP-0199: XMPP Ping.

use comity_xmpp::ns;
use comity_xmpp::stanza::IqType;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;

pub const MODULE: Module = Module {
    name: "ping",
    handles: &[pinged(Target::Domain), pinged(Target::OwnAccount)],
    features: &[(Entity::Domain, ns::PING), (Entity::Account, ns::PING)],
    handle,
    ..Module::EMPTY
};

const fn pinged(target: Target) -> Handles {
    Handles {
        what: What::Iq(IqType::Get),
        ns: ns::PING,
        name: "ping",
        target,
    }
}

fn handle(_: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move { Deliveries::answer(request.stanza.result(None)) })
}
