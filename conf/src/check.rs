//! What the types do not say: values that cannot be.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::duration::write;
use crate::{Conf, Dialback, IssuingKey, Policy, RootKey};

/// Anchors statements are refused by other domains beyond this.
const ANCHORS_MOST: Duration = Duration::from_secs(7 * 24 * 3600);
/// RFC 7677 §4.
const SCRAM_LEAST: u32 = 4096;
/// A login must not become a way to keep the server busy.
const SCRAM_MOST: u32 = 1_000_000;
/// RFC 6120 §13.12.
const STANZA_LEAST: u32 = 10_000;
/// Tokens have few, and each waits in a thread.
const TOKEN_SESSIONS_MOST: u32 = 64;
/// A stanza is held in memory as a whole.
const STANZA_MOST: u32 = 16 << 20;

/// Which key, and why not.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) key: &'static [&'static str],
    pub(crate) why: String,
}

pub(crate) fn check(conf: &Conf) -> Result<(), Broken> {
    domains(conf)?;
    web(conf)?;
    origins(conf)?;
    proxies(conf)?;
    if let Some(why) = conf.tls.acme.broken() {
        return Err(Broken {
            key: &["tls", "acme"],
            why,
        });
    }
    if let Some(why) = conf.external.broken() {
        return Err(Broken {
            key: &["external", "services"],
            why,
        });
    }
    if let Some(why) = conf.uploads.broken() {
        return Err(Broken {
            key: &["uploads"],
            why,
        });
    }
    let mute = conf.c2s.scram.is_empty() && !conf.c2s.plain;
    refuse(mute, &["c2s", "scram"], "nobody could log in: name one")?;
    counts(conf)?;
    durations(conf)?;
    token(conf)?;
    let lifetime = conf.mls.authority.anchors_lifetime;
    let why = format!("{} is more than {}", write(lifetime), write(ANCHORS_MOST));
    refuse(
        lifetime > ANCHORS_MOST,
        &["mls", "authority", "anchors_lifetime"],
        &why,
    )?;
    let s2s = &conf.s2s;
    refuse(
        s2s.retry_first > s2s.retry_most,
        &["s2s", "retry_first"],
        "longer than retry_most",
    )?;
    let proofless = |ours: &String| {
        let rules = s2s.rules(ours);
        let mut policies = rules.peers.values().map(|peer| peer.policy);
        rules.dialback == Dialback::Never && !policies.any(|policy| policy == Some(Policy::Allow))
    };
    refuse(
        !s2s.client_certificate && conf.server.domains.iter().all(proofless),
        &["s2s", "client_certificate"],
        "nobody would believe us: without a certificate there is dialback = \"fallback\", or a \
         peer's policy = \"allow\"",
    )?;
    let authority = &conf.mls.authority;
    refuse(
        authority.certificate_lifetime > authority.issuing_lifetime,
        &["mls", "authority", "certificate_lifetime"],
        "longer than issuing_lifetime: no certificate outlives its issuer",
    )?;
    refuse(
        authority.issuing_lifetime > authority.root_lifetime,
        &["mls", "authority", "issuing_lifetime"],
        "longer than root_lifetime: no certificate outlives its issuer",
    )
}

fn token(conf: &Conf) -> Result<(), Broken> {
    let authority = &conf.mls.authority;
    let token = &authority.token;
    let none = token.module.as_os_str().is_empty();
    let why = "name the library of the token in [mls.authority.token], as module";
    let root: &[&str] = &["mls", "authority", "root"];
    refuse(none && authority.root == RootKey::Token, root, why)?;
    let issuing: &[&str] = &["mls", "authority", "issuing"];
    refuse(none && authority.issuing == IssuingKey::Token, issuing, why)?;
    let label: &[&str] = &["mls", "authority", "token", "label"];
    let why = "say which token: `pkcs11-tool --module MODULE --list-slots` shows their labels";
    refuse(!none && token.label.is_empty(), label, why)?;
    let slot = !token.slot.is_empty() && token.slot.parse::<u64>().is_err();
    let why = format!("{:?} is no number of a slot", token.slot);
    refuse(slot, &["mls", "authority", "token", "slot"], &why)?;
    let sessions: &[&str] = &["mls", "authority", "token", "sessions"];
    let within = (1..=TOKEN_SESSIONS_MOST).contains(&token.sessions);
    let why = format!("1 to {TOKEN_SESSIONS_MOST} are possible");
    refuse(!within, sessions, &why)
}

fn domains(conf: &Conf) -> Result<(), Broken> {
    let domains = &conf.server.domains;
    let key = &["server", "domains"];
    refuse(domains.is_empty(), key, "name at least one domain")?;
    let mut seen = HashSet::new();
    for domain in domains {
        refuse(domain.is_empty(), key, "a domain has no name")?;
        refuse(
            !seen.insert(domain),
            key,
            &format!("{domain} is named twice"),
        )?;
    }
    for domain in conf.tls.certificates.keys() {
        let why = format!("{domain} is not in server.domains");
        refuse(!domains.contains(domain), &["tls", "certificates"], &why)?;
    }
    for domain in conf.s2s.targets.keys() {
        let why = format!("{domain} is served here");
        refuse(domains.contains(domain), &["s2s", "targets"], &why)?;
    }
    for domain in conf.components.secret_files.keys() {
        let key = &["components", "secret_files"];
        let why = format!("{domain} is served here");
        refuse(domains.contains(domain), key, &why)?;
        let why = format!("{domain} is another server by s2s.targets");
        refuse(conf.s2s.targets.contains_key(domain), key, &why)?;
    }
    for domain in conf.s2s.peers.keys() {
        let why = format!("{domain} is served here");
        refuse(domains.contains(domain), &["s2s", "peers"], &why)?;
    }
    for (ours, own) in &conf.s2s.domains {
        let key = &["s2s", "domains"];
        let why = format!("{ours} is not in server.domains");
        refuse(!domains.contains(ours), key, &why)?;
        for domain in own.peers.keys() {
            let why = format!("peers of {ours}: {domain} is served here");
            refuse(domains.contains(domain), key, &why)?;
        }
    }
    Ok(())
}

/// Addresses, and networks as in `192.0.2.0/24`.
fn proxies(conf: &Conf) -> Result<(), Broken> {
    let lists: [(&'static [&'static str], _); 2] = [
        (&["c2s", "proxies"], &conf.c2s.proxies),
        (&["web", "proxies"], &conf.web.proxies),
    ];
    for (key, list) in lists {
        for proxy in list {
            let (address, bits) = proxy.split_once('/').unwrap_or((proxy, "0"));
            let address = address.parse::<std::net::IpAddr>().ok();
            let most = address.map_or(0, |address| if address.is_ipv4() { 32 } else { 128 });
            let fits = bits.parse::<u8>().is_ok_and(|bits| bits <= most);
            let why = format!("{proxy:?} is no address, and no network as in \"192.0.2.0/24\"");
            refuse(address.is_none() || !fits, key, &why)?;
        }
    }
    Ok(())
}

/// RFC 6454 §6.2.
fn origins(conf: &Conf) -> Result<(), Broken> {
    for origin in &conf.web.origins {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        let broken = host.is_none_or(|host| host.is_empty() || host.contains('/'));
        let why = format!("{origin:?} is no origin: write it as \"https://chat.example\"");
        refuse(broken && origin != "*", &["web", "origins"], &why)?;
    }
    Ok(())
}

/// It is put into pages as it is, and paths are put behind it.
fn web(conf: &Conf) -> Result<(), Broken> {
    let url = &conf.web.url;
    let key = &["web", "url"];
    let authority = url.strip_prefix("https://").unwrap_or("x");
    let why = "a browser needs https, as in \"https://{domain}\"";
    refuse(!url.is_empty() && !url.starts_with("https://"), key, why)?;
    let fit = |c: char| c.is_alphanumeric() || "-.:[]{}/_~".contains(c);
    let why = "no URL without query and without a slash at its end";
    let broken = authority.is_empty() || authority.ends_with('/') || !authority.chars().all(fit);
    refuse(broken, key, why)
}

/// Nothing that counts may be nothing, where that would only be a server that does not work.
fn counts(conf: &Conf) -> Result<(), Broken> {
    let stanza = STANZA_LEAST..=STANZA_MOST;
    let some = 1..=u32::MAX;
    let scram = SCRAM_LEAST..=SCRAM_MOST;
    let (c2s, s2s, accounts, mls) = (&conf.c2s, &conf.s2s, &conf.accounts, &conf.mls);
    let ranges: &[(&'static [&'static str], u32, &RangeInclusive<u32>)] = &[
        (
            &["accounts", "scram_iterations"],
            accounts.scram_iterations,
            &scram,
        ),
        (&["accounts", "sessions"], accounts.sessions, &some),
        (&["accounts", "pubsub_items"], accounts.pubsub_items, &some),
        (&["archive", "messages"], conf.archive.messages, &some),
        (&["c2s", "connections"], c2s.connections, &some),
        (
            &["c2s", "connections_per_address"],
            c2s.connections_per_address,
            &some,
        ),
        (
            &["c2s", "stanza_bytes_before_login"],
            c2s.stanza_bytes_before_login,
            &stanza,
        ),
        (&["c2s", "stanza_bytes"], c2s.stanza_bytes, &stanza),
        (&["c2s", "queue"], c2s.queue, &some),
        (&["s2s", "connections"], s2s.connections, &some),
        (
            &["s2s", "connections_per_address"],
            s2s.connections_per_address,
            &some,
        ),
        (&["s2s", "stanza_bytes"], s2s.stanza_bytes, &stanza),
        (&["s2s", "queue"], s2s.queue, &some),
        (&["web", "connections"], conf.web.connections, &some),
        (
            &["web", "connections_per_address"],
            conf.web.connections_per_address,
            &some,
        ),
        (
            &["mls", "authority", "devices"],
            mls.authority.devices,
            &some,
        ),
        (
            &["mls", "key_packages", "per_device"],
            mls.key_packages.per_device,
            &some,
        ),
        (&["mls", "rooms", "devices"], mls.rooms.devices, &some),
        (&["mls", "rooms", "in_memory"], mls.rooms.in_memory, &some),
    ];
    for &(key, value, range) in ranges {
        let why = format!(
            "{value} is not between {} and {}",
            range.start(),
            range.end()
        );
        refuse(!range.contains(&value), key, &why)?;
    }
    Ok(())
}

fn durations(conf: &Conf) -> Result<(), Broken> {
    let (c2s, s2s, mls) = (&conf.c2s, &conf.s2s, &conf.mls);
    let durations: &[(&'static [&'static str], Duration)] = &[
        (&["c2s", "negotiation"], c2s.negotiation),
        (&["c2s", "silence"], c2s.silence),
        (&["c2s", "sign_of_life"], c2s.sign_of_life),
        (&["s2s", "connect"], s2s.connect),
        (&["s2s", "negotiation"], s2s.negotiation),
        (&["s2s", "idle"], s2s.idle),
        (&["s2s", "retry_first"], s2s.retry_first),
        (&["s2s", "outbox_expiry"], s2s.outbox_expiry),
        (&["s2s", "unknown_expiry"], s2s.unknown_expiry),
        (
            &["mls", "authority", "certificate_lifetime"],
            mls.authority.certificate_lifetime,
        ),
        (
            &["mls", "authority", "issuing_lifetime"],
            mls.authority.issuing_lifetime,
        ),
        (
            &["mls", "authority", "root_lifetime"],
            mls.authority.root_lifetime,
        ),
        (
            &["mls", "authority", "anchors_lifetime"],
            mls.authority.anchors_lifetime,
        ),
        (
            &["mls", "key_packages", "lifetime"],
            mls.key_packages.lifetime,
        ),
        (&["mls", "rooms", "log_retention"], mls.rooms.log_retention),
    ];
    for &(key, duration) in durations {
        refuse(duration.is_zero(), key, "must be longer than nothing")?;
    }
    Ok(())
}

fn refuse(broken: bool, key: &'static [&'static str], why: &str) -> Result<(), Broken> {
    match broken {
        true => Err(Broken {
            key,
            why: why.to_owned(),
        }),
        false => Ok(()),
    }
}
