//! XEP-0060 on accounts: every account is a publish-subscribe service of its own (XEP-0163). Whom
//! a publication reaches is in [`notify`], what a resource is told when it appears in [`arrival`],
//! who may do what in [`access`], what an owner decides in [`config`].

pub(crate) mod access;
pub(crate) mod arrival;
pub(crate) mod config;
pub(crate) mod disco;
mod items;
mod manage;
mod notify;
pub(crate) mod owner;
mod publish;
mod refusal;
mod relations;
mod subscribe;
#[cfg(test)]
mod tests;

use comity_storage::pubsub::Node;
use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};

use self::access::{Affiliation, Relation, Viewer};
use self::config::Config;
pub(crate) use self::relations::answered;
use super::{Context, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;
use crate::home::Home;

/// Bytes of a node's name and of an item's id.
const NAME_BYTES: usize = 1023;
/// Affiliations, and subscriptions, of one node.
const RELATIONS: usize = 1000;

pub const MODULE: Module = Module {
    name: "pubsub",
    handles: &[
        asked(IqType::Get, ns::PUBSUB, Target::OwnAccount),
        asked(IqType::Set, ns::PUBSUB, Target::OwnAccount),
        asked(IqType::Get, ns::PUBSUB, Target::OtherAccount),
        asked(IqType::Set, ns::PUBSUB, Target::OtherAccount),
        asked(IqType::Get, ns::PUBSUB_OWNER, Target::OwnAccount),
        asked(IqType::Set, ns::PUBSUB_OWNER, Target::OwnAccount),
        asked(IqType::Get, ns::PUBSUB_OWNER, Target::OtherAccount),
        asked(IqType::Set, ns::PUBSUB_OWNER, Target::OtherAccount),
    ],
    features: disco::FEATURES,
    handle,
    ..Module::EMPTY
};

const fn asked(kind: IqType, ns: &'static str, target: Target) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns,
        name: "pubsub",
        target,
    }
}

/// One request before the service of one account.
struct Asked<'a> {
    home: &'a Home,
    /// Whose service it is.
    account: BareJid,
    from: &'a Jid,
    relation: Relation,
    stanza: &'a Stanza,
    now_ms: u64,
}

/// What follows from a request, or why nothing does.
type Answer = Result<Deliveries, StanzaError>;

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match answer(&context, &request).await {
            Ok(deliveries) => deliveries,
            Err(error) => Deliveries::refuse(&request.stanza, &error),
        }
    })
}

async fn answer(context: &Context, request: &Request) -> Answer {
    let account = request.to.to_bare();
    let asked = Asked {
        home: &context.home,
        relation: relation(&context.home, &account, &request.from.to_bare()).await?,
        account,
        from: &request.from,
        stanza: &request.stanza,
        now_ms: context.now_ms(),
    };
    let payload = &request.payload;
    let owner = payload.ns == ns::PUBSUB_OWNER;
    if owner && asked.relation != Relation::Owner {
        // XEP-0060 §8; nothing is said of whether there is such an account.
        return Err(refusal::forbidden("only the owner may do this"));
    }
    let Some(verb) = payload.elements().next() else {
        return Err(refusal::bad_request("invalid-payload"));
    };
    let get = request.stanza.kind == Kind::Iq(IqType::Get);
    match (owner, get, verb.name.as_str()) {
        (false, true, "items") => items::items(&asked, verb).await,
        (false, true, "subscriptions") => subscribe::of_requester(&asked, verb).await,
        (false, true, "affiliations") => relations::of_requester(&asked, verb).await,
        (_, true, "default") => Ok(manage::default(&asked, owner)),
        (false, false, "publish") => publish::publish(&asked, payload, verb).await,
        (false, false, "retract") => publish::retract(&asked, verb).await,
        (false, false, "create") => manage::create(&asked, payload, verb).await,
        (false, false, "subscribe") => subscribe::subscribe(&asked, verb).await,
        (false, false, "unsubscribe") => subscribe::unsubscribe(&asked, verb).await,
        (true, true, "configure") => manage::configuration(&asked, verb).await,
        (true, false, "configure") => manage::configure(&asked, verb).await,
        (true, false, "delete") => manage::delete(&asked, verb).await,
        (true, false, "purge") => manage::purge(&asked, verb).await,
        (true, true, "affiliations") => relations::affiliations(&asked, verb).await,
        (true, false, "affiliations") => relations::affiliate(&asked, verb).await,
        (true, true, "subscriptions") => relations::subscriptions(&asked, verb).await,
        (true, false, "subscriptions") => relations::settle(&asked, verb).await,
        (_, _, "options") => Err(refusal::unsupported("subscription-options")),
        _ => Err(refusal::bad_request("invalid-payload")),
    }
}

/// How somebody stands to an account of ours; to one that does not exist, as a stranger.
async fn relation(
    home: &Home,
    account: &BareJid,
    viewer: &BareJid,
) -> Result<Relation, StanzaError> {
    if viewer == account {
        return Ok(Relation::Owner);
    }
    let contact = home
        .storage
        .contact(account.as_str(), viewer.as_str())
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    Ok(match contact {
        Some(contact) if contact.subscription.from() => Relation::Contact {
            groups: contact.groups,
        },
        _ => Relation::Stranger,
    })
}

/// May somebody read a node of this account? For what shows its items in another way.
pub(crate) async fn may_read(
    home: &Home,
    account: &BareJid,
    who: &Jid,
    node: &str,
    config: &Config,
) -> bool {
    let Ok(relation) = relation(home, account, &who.to_bare()).await else {
        return false;
    };
    let viewer = viewer(home, account, node, who, relation).await;
    viewer.is_ok_and(|viewer| access::read(config, &viewer).is_ok())
}

impl Asked<'_> {
    /// A node's name, as an attribute says it.
    fn node_name<'e>(&self, verb: &'e Element) -> Result<&'e str, StanzaError> {
        match verb.attr("node") {
            None | Some("") => Err(refusal::bad_request("nodeid-required")),
            Some(name) if name.len() > NAME_BYTES => Err(refusal::constraint(format!(
                "the name of a node has at most {NAME_BYTES} bytes"
            ))),
            Some(name) => Ok(name),
        }
    }

    /// The node, or what this requester is told where there is none.
    async fn node(&self, name: &str) -> Result<(Node, Config), StanzaError> {
        self.find(name).await?.ok_or_else(|| match self.relation {
            Relation::Stranger => refusal::presence_required(),
            _ => refusal::no_node(),
        })
    }

    async fn find(&self, name: &str) -> Result<Option<(Node, Config)>, StanzaError> {
        let found = self
            .home
            .storage
            .pubsub_node(self.account.as_str(), name)
            .await
            .map_err(|fault| refusal::storage(&fault))?;
        Ok(found.map(|node| {
            let config = Config::from_stored(&node.config);
            (node, config)
        }))
    }

    /// The requester before this node.
    async fn viewer(&self, node: &str) -> Result<Viewer, StanzaError> {
        viewer(
            self.home,
            &self.account,
            node,
            self.from,
            self.relation.clone(),
        )
        .await
    }

    /// May the requester read this node?
    async fn readable(&self, node: &str, config: &Config) -> Result<(), StanzaError> {
        let viewer = self.viewer(node).await?;
        access::read(config, &viewer).map_err(|why| refusal::denied(why, &viewer.relation))
    }

    fn result(&self, content: Option<&Element>) -> Deliveries {
        Deliveries::answer(self.stanza.result(content))
    }
}

/// Somebody before a node of an account of ours.
async fn viewer(
    home: &Home,
    account: &BareJid,
    node: &str,
    who: &Jid,
    relation: Relation,
) -> Result<Viewer, StanzaError> {
    let failed = |fault| refusal::storage(&fault);
    if relation == Relation::Owner {
        return Ok(Viewer {
            relation,
            affiliation: Affiliation::Owner,
            subscribed: false,
        });
    }
    let bare = who.to_bare();
    let affiliation = home
        .storage
        .pubsub_affiliation(account.as_str(), node, bare.as_str())
        .await
        .map_err(failed)?;
    let subscriptions = home
        .storage
        .pubsub_subscriptions(account.as_str(), node)
        .await
        .map_err(failed)?;
    let subscribed = subscriptions
        .iter()
        .any(|held| !held.pending && (held.jid == bare.as_str() || held.jid == who.as_str()));
    Ok(Viewer {
        relation,
        affiliation: affiliation
            .and_then(|name| Affiliation::from_name(&name))
            .unwrap_or(Affiliation::None),
        subscribed,
    })
}

/// An empty answer of the service.
fn pubsub(content: Element) -> Element {
    Element::new(content.ns.clone(), "pubsub").with_child(content)
}
