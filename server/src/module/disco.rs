//! XEP-0030: Service Discovery, of the domain, of accounts and of rooms.

use comity_mls_wire::disco::ROOM_IDENTITY;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::IqType;

use super::{
    Context, Entity, Handles, Later, MODULES, Module, Request, Target, What, http_upload, presence,
    pubsub,
};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::route::unavailable;

pub const MODULE: Module = Module {
    name: "disco",
    handles: &[
        about(ns::DISCO_INFO, Target::Domain),
        about(ns::DISCO_INFO, Target::OwnAccount),
        about(ns::DISCO_INFO, Target::OtherAccount),
        about(ns::DISCO_ITEMS, Target::Domain),
        about(ns::DISCO_ITEMS, Target::OwnAccount),
        about(ns::DISCO_ITEMS, Target::OtherAccount),
        // The same for rooms that exist and rooms that do not.
        about(ns::DISCO_INFO, Target::Room),
        about(ns::DISCO_ITEMS, Target::Room),
    ],
    features: &[
        (Entity::Domain, ns::DISCO_INFO),
        (Entity::Domain, ns::DISCO_ITEMS),
        (Entity::Account, ns::DISCO_INFO),
        (Entity::Account, ns::DISCO_ITEMS),
    ],
    handle,
    ..Module::EMPTY
};

const fn about(ns: &'static str, target: Target) -> Handles {
    Handles {
        what: What::Iq(IqType::Get),
        ns,
        name: "query",
        target,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        if request.target == Target::OtherAccount && !may_know(&context, &request).await {
            // XEP-0030 §8: strangers do not learn whether there is such an account.
            return Deliveries::refuse(&request.stanza, &unavailable());
        }
        if let Some(node) = request.payload.attr("node").filter(|node| !node.is_empty()) {
            return match of_node(&context, &request, node).await {
                Ok(answer) => Deliveries::answer(request.stanza.result(Some(&answer))),
                Err(error) => Deliveries::refuse(&request.stanza, &error),
            };
        }
        let entity = match request.target {
            Target::Domain => Entity::Domain,
            Target::OwnAccount | Target::OtherAccount => Entity::Account,
            Target::Room => Entity::Room,
        };
        let answer = if request.payload.ns == ns::DISCO_INFO {
            info(&context.home, entity)
        } else {
            let items = match entity {
                Entity::Account => {
                    let account = request.to.to_bare();
                    pubsub::disco::nodes(&context.home, &account, &request.from).await
                }
                Entity::Domain => Ok(services(&context.home)),
                Entity::Room => Ok(Vec::new()),
            };
            match items {
                Ok(items) => Element::new(ns::DISCO_ITEMS, "query").with_children(items),
                Err(error) => return Deliveries::refuse(&request.stanza, &error),
            }
        };
        Deliveries::answer(request.stanza.result(Some(&answer)))
    })
}

/// XEP-0030 §4: what belongs to this server and has an address of its own, and services elsewhere
/// that the operator names. They say themselves what they are.
fn services(home: &Home) -> Vec<Element> {
    let components = home.federation.components.iter().map(String::as_str);
    let offers = home.offers.now();
    let elsewhere = offers.addresses.iter().map(Jid::as_str);
    let item = |address| Element::new(ns::DISCO_ITEMS, "item").with_attr("jid", address);
    components.chain(elsewhere).map(item).collect()
}

/// Accounts have nodes; nobody else has.
async fn of_node(context: &Context, request: &Request, node: &str) -> Result<Element, StanzaError> {
    let (home, account, from) = (&context.home, request.to.to_bare(), &request.from);
    match request.target {
        Target::OwnAccount | Target::OtherAccount if request.payload.ns == ns::DISCO_INFO => {
            pubsub::disco::node(home, &account, from, node).await
        }
        Target::OwnAccount | Target::OtherAccount => {
            pubsub::disco::items(home, &account, from, node).await
        }
        Target::Domain | Target::Room => Err(StanzaError::new(
            ErrorType::Cancel,
            StanzaCondition::ItemNotFound,
        )
        .with_text("there are no nodes here")),
    }
}

async fn may_know(context: &Context, request: &Request) -> bool {
    presence::sees(
        &context.home,
        &request.from.to_bare(),
        &request.to.to_bare(),
    )
    .await
}

/// What an entity of this server is and can: for modules that answer disco#info themselves too.
#[must_use]
pub fn info(home: &Home, entity: Entity) -> Element {
    let (category, kind) = match entity {
        Entity::Domain => ("server", "im"),
        Entity::Account => ("account", "registered"),
        Entity::Room => ROOM_IDENTITY,
    };
    let mut identity = Element::new(ns::DISCO_INFO, "identity")
        .with_attr("category", category)
        .with_attr("type", kind);
    if entity == Entity::Domain {
        identity.set_attr("name", "Comity");
    }
    let mut features: Vec<&str> = MODULES
        .iter()
        .filter(|module| (module.offered)(home))
        .flat_map(|module| module.features)
        .filter(|(described, _)| *described == entity)
        .map(|(_, feature)| *feature)
        .collect();
    features.sort_unstable();
    features.dedup();
    let besides = match entity {
        Entity::Domain => http_upload::identity(home),
        Entity::Account => Some(pubsub::disco::identity()),
        Entity::Room => None,
    };
    Element::new(ns::DISCO_INFO, "query")
        .with_child(identity)
        .with_children(besides)
        .with_children(
            features
                .into_iter()
                .map(|feature| Element::new(ns::DISCO_INFO, "feature").with_attr("var", feature)),
        )
        .with_children(
            MODULES
                .iter()
                .flat_map(|module| (module.info)(home, entity)),
        )
}
