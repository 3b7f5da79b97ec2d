//! What all modules share, made from the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use comity_conf::{Conf, Federation as Policy};
use comity_storage::{ArchivePolicy, Storage};

use super::RunError;
use super::clients::size;
use crate::afterwards::Afterwards;
use crate::blocklists::Blocklists;
use crate::counters::Counters;
use crate::expiries::Expiries;
use crate::fast::Tokens;
use crate::guard::{Allowed, Guard};
use crate::home::{Blocked, Clock, Federation, Home, Limits, Lists, Remote, Shared};
use crate::live::Live;
use crate::managed::Acknowledgements;
use crate::module::account;
use crate::module::archive::{Keeping, Preferences};
use crate::module::registration::new::{Registrations, Rules};
use crate::offers::Offers;
use crate::outreach::Outreach;
use crate::pace::{Pace, Rate};
use crate::passwords::Passwords;
use crate::requests::Requests;
use crate::route::Hosts;
use crate::services::Services;
use crate::services::closed::ClosedRooms;
use crate::sessions::Sessions;
use crate::uploads::{Rules as UploadRules, Uploads};
use crate::web::Places;

pub(super) async fn home(
    conf: &Conf,
    domains: &[String],
    storage: Storage,
    clock: Arc<dyn Clock>,
    remote: Arc<dyn Remote>,
) -> Result<Home, RunError> {
    let mut services = Services::open(conf, domains, &storage, &clock).await?;
    services.rooms.closed = closed_rooms(&storage, conf).await?;
    let host_secrets = secrets(&storage, conf, domains).await?;
    let blocked = blocked(&storage, conf).await?;
    let offers = Offers::of(conf).map_err(RunError::Offers)?;
    let blocklists = blocklists(&storage, conf).await?;
    let started_ms = crate::home::millis(clock.wall());
    Ok(Home::new(Shared {
        hosts: Hosts::new(domains.iter().cloned()),
        storage,
        sessions: Sessions::default(),
        services,
        requests: Requests::default(),
        remote,
        clock,
        limits: Live::new(limits(conf)),
        archive: Preferences::new(keeping(conf)),
        acknowledgements: Acknowledgements::default(),
        federation: Federation {
            blocked,
            components: super::components::domains(conf)?.into_iter().collect(),
            ..federation(conf, domains)
        },
        tokens: tokens(conf)?,
        web: places(conf, domains),
        uploads: uploads(conf),
        metrics_from: Live::new(conf.web.metrics_from.clone()),
        host_secrets,
        expiries: Expiries::default(),
        counters: Counters::default(),
        afterwards: Afterwards::default(),
        outreach: Outreach::default(),
        offers: Live::new(offers),
        passwords: Passwords::new(conf.accounts.scram_iterations),
        registrations: Registrations::new(Rules {
            open: conf.accounts.registration,
            per_hour: conf.accounts.registrations_per_hour,
            per_address: conf.accounts.registrations_per_address,
        }),
        guard: Guard::new(Allowed {
            per_address: conf.c2s.failures_per_address,
            per_account: conf.c2s.failures_per_account,
        }),
        pace: Pace::new(Rate {
            per_second: conf.c2s.stanzas_per_second,
            burst: conf.c2s.stanza_burst,
        }),
        started_ms,
        blocklists,
    }))
}

async fn blocked(storage: &Storage, conf: &Conf) -> Result<Blocked, RunError> {
    let found = storage.blocked_peers().await;
    let found = found.map_err(|source| RunError::Storage {
        path: conf.database(),
        source,
    })?;
    let blocked = Blocked::default();
    for peer in found {
        blocked.set(&peer.domain, true);
    }
    Ok(blocked)
}

async fn closed_rooms(storage: &Storage, conf: &Conf) -> Result<ClosedRooms, RunError> {
    let found = storage.closed_rooms().await;
    let found = found.map_err(|source| RunError::Storage {
        path: conf.database(),
        source,
    })?;
    Ok(ClosedRooms::of(found))
}

async fn blocklists(storage: &Storage, conf: &Conf) -> Result<Blocklists, RunError> {
    let found = storage.blocklists().await;
    let found = found.map_err(|source| RunError::Storage {
        path: conf.database(),
        source,
    })?;
    Ok(Blocklists::of(found))
}

async fn secrets(
    storage: &Storage,
    conf: &Conf,
    domains: &[String],
) -> Result<HashMap<String, Vec<u8>>, RunError> {
    account::host_secrets(storage, domains)
        .await
        .map_err(|source| RunError::Storage {
            path: conf.database(),
            source,
        })
}

pub(super) fn limits(conf: &Conf) -> Limits {
    Limits {
        offline_messages: size(conf.accounts.offline_messages),
        roster_items: size(conf.accounts.roster_items),
        blocked: size(conf.accounts.blocked),
        resources: size(conf.accounts.sessions),
        scram_iterations: conf.accounts.scram_iterations,
        pubsub_nodes: size(conf.accounts.pubsub_nodes),
        pubsub_items: size(conf.accounts.pubsub_items),
        pubsub_bytes: conf.accounts.pubsub_bytes,
        private_bytes: conf.accounts.private_bytes,
        outbox_expiry_ms: u64::try_from(conf.s2s.outbox_expiry.as_millis()).unwrap_or(u64::MAX),
        unknown_expiry_ms: u64::try_from(conf.s2s.unknown_expiry.as_millis()).unwrap_or(u64::MAX),
        ..Limits::default()
    }
}

fn keeping(conf: &Conf) -> Keeping {
    use comity_conf::ArchivePolicy as Said;
    Keeping {
        retention: conf.archive.retention,
        messages: size(conf.archive.messages),
        policy: match conf.archive.default {
            Said::Always => ArchivePolicy::Always,
            Said::Roster => ArchivePolicy::Roster,
            Said::Never => ArchivePolicy::Never,
        },
    }
}

fn uploads(conf: &Conf) -> Uploads {
    let said = &conf.uploads;
    let rules = UploadRules {
        file_bytes: said.file_bytes,
        account_bytes: said.account_bytes,
        total_bytes: said.total_bytes,
        retention: said.retention,
    };
    Uploads::new(conf.uploads_folder(), rules)
}

/// The key lies in the data directory: who has that has everything anyway.
fn tokens(conf: &Conf) -> Result<Tokens, RunError> {
    let path = conf.server.data_dir.join("fast.key");
    Tokens::open(&path, conf.c2s.fast).map_err(|source| RunError::DataDir { path, source })
}

fn places(conf: &Conf, domains: &[String]) -> Places {
    let port = conf.web.listen.first().map(std::net::SocketAddr::port);
    Places::new(&conf.web.url, port, domains)
}

pub(super) fn lists_of(conf: &Conf, domains: &[String]) -> HashMap<String, Lists> {
    let lists = domains.iter().map(|ours| {
        let rules = conf.s2s.rules(ours);
        (ours.clone(), lists(&rules))
    });
    lists.collect()
}

fn federation(conf: &Conf, domains: &[String]) -> Federation {
    Federation {
        lists: Arc::new(Live::new(lists_of(conf, domains))),
        components: std::collections::BTreeSet::new(),
        blocked: Blocked::default(),
    }
}

fn lists(rules: &comity_conf::Rules) -> Lists {
    use comity_conf::Policy::{Allow, Deny, Require};
    let with = |policies: &'static [comity_conf::Policy]| {
        let peers = rules.peers.iter();
        peers
            .filter(|(_, peer)| peer.policy.is_some_and(|policy| policies.contains(&policy)))
            .map(|(domain, _)| domain.clone())
    };
    let allow = match rules.federation {
        Policy::Open => None,
        Policy::Listed => {
            let named = rules.allow.iter().cloned();
            Some(named.chain(with(&[Allow, Require])).collect())
        }
        Policy::Off => Some(std::collections::HashSet::new()),
    };
    Lists {
        allow,
        deny: rules.deny.iter().cloned().chain(with(&[Deny])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `federation`, `allow`, `deny`, `peers`, and with whom of a to e there are streams then.
    #[test]
    fn lists_and_policies_say_with_whom() {
        let peers = "\"c\" = { policy = \"allow\" }\n\"d\" = { policy = \"require\" }\n\
                     \"e\" = { policy = \"deny\" }";
        let cases = [
            ("open", "", "", "", "abcde"),
            ("open", "\"a\"", "\"b\"", "", "acde"),
            ("open", "", "", peers, "abcd"),
            ("listed", "\"a\"", "", "", "a"),
            ("listed", "\"a\"", "", peers, "acd"),
            ("listed", "\"a\", \"e\"", "\"c\"", peers, "ad"),
            ("off", "\"a\"", "", peers, ""),
        ];
        for (n, (federates, allow, deny, peers, expect)) in cases.into_iter().enumerate() {
            let text = format!(
                "[s2s]\nfederation = \"{federates}\"\nallow = [{allow}]\ndeny = [{deny}]\n\
                 [s2s.peers]\n{peers}"
            );
            let conf = Conf::parse(&text, std::path::Path::new("homeserver.toml")).unwrap();
            let federation = federation(&conf, &["localhost".to_owned()]);
            let with: String = ["a", "b", "c", "d", "e"]
                .into_iter()
                .filter(|domain| federation.with("localhost", domain))
                .collect();
            assert_eq!(with, expect, "case {n}");
        }
    }

    /// What one of our domains says for itself, and with whom of a to e it has streams then; the
    /// other says nothing.
    #[test]
    fn each_domain_of_ours_may_say_for_itself_with_whom() {
        let cases = [
            ("", "acd"),
            ("federation = \"off\"", ""),
            ("federation = \"listed\"", "ad"),
            ("federation = \"listed\", allow = [\"e\"]", "d"),
            ("deny = []", "abcd"),
            ("deny = [\"a\", \"c\"]", "bd"),
            ("peers = { d = { policy = \"deny\" } }", "ac"),
            ("peers = { e = {} }", "acde"),
            (
                "federation = \"listed\", peers = { c = { policy = \"require\" } }",
                "acd",
            ),
        ];
        for (own, expect) in cases {
            let text = format!(
                "[server]\ndomains = [\"one\", \"two\"]\n[s2s]\nallow = [\"a\"]\ndeny = [\"b\"]\n\
                 [s2s.peers]\nd = {{ policy = \"allow\" }}\ne = {{ policy = \"deny\" }}\n\
                 [s2s.domains]\none = {{ {own} }}\n"
            );
            let conf = Conf::parse(&text, std::path::Path::new("homeserver.toml")).unwrap();
            let federation = federation(&conf, &conf.server.domains);
            let with = |ours: &str| -> String {
                let peers = ["a", "b", "c", "d", "e"].into_iter();
                peers.filter(|peer| federation.with(ours, peer)).collect()
            };
            assert_eq!(with("one"), expect, "{own}");
            assert_eq!(with("two"), "acd", "{own}");
            federation.blocked.set("c", true);
            assert!(!federation.with("one", "c") && !federation.with("two", "c"));
        }
    }
}
