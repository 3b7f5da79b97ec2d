//! The domains a configuration names, as RFC 7622 prepares them. One written otherwise would match
//! nothing that comes over a stream, so it is refused rather than understood.

use comity_conf::Conf;
use comity_xmpp::jid::BareJid;

use super::RunError;

/// Checks every domain of the configuration; gives those that are served.
pub(crate) fn domains(conf: &Conf) -> Result<Vec<String>, RunError> {
    let named = [
        ("server.domains", &conf.server.domains),
        ("s2s.allow", &conf.s2s.allow),
        ("s2s.deny", &conf.s2s.deny),
    ];
    let targets = conf
        .s2s
        .targets
        .keys()
        .map(|domain| ("s2s.targets", domain));
    let peers = conf.s2s.peers.keys().map(|domain| ("s2s.peers", domain));
    let own = conf.s2s.domains.values().flat_map(|own| {
        let lists = own.allow.iter().chain(&own.deny).flatten();
        let all = own.peers.keys().chain(lists);
        all.map(|domain| ("s2s.domains", domain))
    });
    named
        .into_iter()
        .flat_map(|(key, domains)| domains.iter().map(move |domain| (key, domain)))
        .chain(targets)
        .chain(peers)
        .chain(own)
        .try_for_each(|(key, domain)| check(key, domain))?;
    Ok(conf.server.domains.clone())
}

fn check(key: &'static str, domain: &str) -> Result<(), RunError> {
    let why = match BareJid::parse(domain) {
        Ok(jid) if jid.local().is_some() => "it names an account, not a domain".to_owned(),
        Ok(jid) if jid.domain() != domain => format!("write it as {}", jid.domain()),
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(RunError::Domain {
        key,
        domain: domain.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Conf)) -> String {
        let mut conf = Conf::default();
        change(&mut conf);
        domains(&conf).unwrap_err().to_string()
    }

    #[test]
    fn domains_are_taken_only_as_streams_name_them() {
        let conf = Conf::default();
        assert_eq!(domains(&conf).unwrap(), ["localhost"]);
        let text = refused(|conf| conf.server.domains = vec!["A.Example".to_owned()]);
        assert_eq!(text, "server.domains: A.Example: write it as a.example");
        let text = refused(|conf| conf.s2s.deny = vec!["bob@b.example".to_owned()]);
        assert_eq!(
            text,
            "s2s.deny: bob@b.example: it names an account, not a domain"
        );
        let text = refused(|conf| conf.s2s.allow = vec!["b example".to_owned()]);
        assert!(text.starts_with("s2s.allow: b example: "), "{text}");
        let target = comity_conf::Target {
            address: ([127, 0, 0, 1], 1).into(),
            tls: comity_conf::TargetTls::Direct,
        };
        let text = refused(|conf| {
            conf.s2s.targets.insert("B.example".to_owned(), target);
        });
        assert_eq!(text, "s2s.targets: B.example: write it as b.example");
        let text = refused(|conf| {
            let peer = comity_conf::Peer::default();
            conf.s2s.peers.insert("B.example".to_owned(), peer);
        });
        assert_eq!(text, "s2s.peers: B.example: write it as b.example");
        let text = refused(|conf| {
            let own = comity_conf::Own {
                allow: Some(vec!["B.example".to_owned()]),
                ..comity_conf::Own::default()
            };
            conf.s2s.domains.insert("localhost".to_owned(), own);
        });
        assert_eq!(text, "s2s.domains: B.example: write it as b.example");
    }
}
