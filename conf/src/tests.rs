use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Conf, Error> {
    Conf::parse(text, Path::new("homeserver.toml"))
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The reference names every key, with the default the code has.
#[test]
fn the_reference_is_the_default() {
    assert_eq!(parse(REFERENCE).unwrap(), Conf::default());
    let written: toml::Table = REFERENCE.parse().unwrap();
    let default = toml::Table::try_from(Conf::default()).unwrap();
    assert_eq!(written, default);
}

#[test]
fn nothing_is_enough() {
    assert_eq!(parse("").unwrap(), Conf::default());
}

#[test]
fn without_a_file_only_loopback_listens() {
    let conf = Conf::loopback();
    let addresses: Vec<String> = [
        conf.c2s.listen,
        conf.c2s.listen_tls,
        conf.s2s.listen,
        conf.s2s.listen_tls,
        conf.web.listen,
    ]
    .concat()
    .iter()
    .map(ToString::to_string)
    .collect();
    let expected = [
        "127.0.0.1:5222",
        "127.0.0.1:5223",
        "127.0.0.1:5269",
        "127.0.0.1:5270",
        "127.0.0.1:5443",
    ];
    assert_eq!(addresses, expected);
    assert_eq!(conf.server.domains, ["localhost"]);
}

#[test]
fn the_starter_sets_domain_and_directory_alone() {
    let text = Conf::starter_with_all("a.example", Path::new("/srv/comity \"a\""));
    let mut expected = Conf::default();
    expected.server.domains = vec!["a.example".to_owned()];
    expected.server.data_dir = "/srv/comity \"a\"".into();
    assert_eq!(parse(&text).unwrap(), expected);
    let keys: toml::Table = text.parse().unwrap();
    assert_eq!(keys["server"].as_table().unwrap().len(), 2);
    assert!(keys["mls"]["rooms"].as_table().unwrap().is_empty());
}

#[test]
fn the_short_starter_says_what_matters() {
    let directory = Path::new("/srv/comity \"a\"");
    let mut expected = Conf::default();
    expected.server.domains = vec!["a.example".to_owned()];
    expected.server.data_dir = directory.into();
    let text = Conf::starter("a.example", directory, None);
    assert_eq!(parse(&text).unwrap(), expected);
    assert!(
        !text.contains(['{', '}']) || text.contains("{ chain"),
        "{text}"
    );
    // What is commented out is valid too.
    let all: String = (text.lines())
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    parse(&all).unwrap();
    let text = Conf::starter("a.example", directory, Some("admin@a.example"));
    assert_eq!(
        parse(&text).unwrap().contacts.admin,
        ["xmpp:admin@a.example"]
    );
}

#[test]
fn somebody_can_log_in() {
    let conf = parse("[c2s]\nscram = [\"SCRAM-SHA-1\"]").unwrap();
    assert_eq!(conf.c2s.scram, [Scram::Sha1]);
    assert!(parse("[c2s]\nscram = []").is_ok());
    let why = refused("[c2s]\nscram = []\nplain = false");
    assert!(why.contains("nobody could log in"), "{why}");
    assert!(parse("[c2s]\nscram = [\"SHA-1\"]").is_err());
}

#[test]
fn pins_are_digests_of_keys() {
    let digest = "0123456789abcdefABCDEF0123456789ffffffffffffffffffffffffffffffff";
    let text =
        |pin: &str| format!("[s2s.peers.\"b.example\"]\npolicy = \"require\"\npins = [\"{pin}\"]");
    let conf = parse(&text(digest)).unwrap();
    let peer = &conf.s2s.peers["b.example"];
    assert_eq!(peer.policy, Some(Policy::Require));
    assert_eq!(peer.pins[0].0[..2], [0x01, 0x23]);
    assert_eq!(String::from(peer.pins[0]), digest.to_lowercase());
    for wrong in [
        "",
        "0123",
        &digest[1..],
        &format!("{digest}0"),
        &digest.replace('0', "g"),
    ] {
        assert!(
            refused(&text(wrong)).contains("64 hexadecimal digits"),
            "{wrong}"
        );
    }
    // As many octets, but no digits.
    let umlauts = "\u{fc}".repeat(32);
    assert!(refused(&text(&umlauts)).contains("64 hexadecimal digits"));
}

#[test]
fn targets_are_addresses_or_tables() {
    let conf = parse(
        "[s2s.targets]\n\"b.localhost\" = \"127.0.0.1:5270\"\n\
         \"c.localhost\" = { address = \"[::1]:1\", tls = \"direct\" }",
    )
    .unwrap();
    let target = |address: &str, tls| Target {
        address: address.parse().unwrap(),
        tls,
    };
    let [b, c] = ["b.localhost", "c.localhost"].map(|name| conf.s2s.targets[name].clone());
    assert_eq!(b, target("127.0.0.1:5270", TargetTls::Starttls));
    assert_eq!(c, target("[::1]:1", TargetTls::Direct));
}

#[test]
fn errors_name_file_line_and_nearest_key() {
    let check = |text: &str, expected: &str| {
        let found = refused(text);
        assert!(found.contains(expected), "{found:?} for {text:?}");
    };
    check(
        "[server]\ndomain = [\"a.example\"]",
        "homeserver.toml:2:1: unknown key `domain`: did you mean `domains`?",
    );
    check(
        "\n[s2s]\nconnections = 5\nretry_frist = \"1s\"",
        "homeserver.toml:4:1: unknown key `retry_frist`: did you mean `retry_first`?",
    );
    check(
        "[serve]",
        "homeserver.toml:1:2: unknown key `serve`: did you mean `server`?",
    );
    check(
        "[server]\nfrobnicate = 1",
        "homeserver.toml:2:1: unknown key `frobnicate`",
    );
    check(
        "[s2s]\nfederation = \"opne\"",
        "homeserver.toml:2:14: unknown value `opne`: did you mean `open`?",
    );
    check(
        "[c2s]\nsilence = \"5m\"",
        "homeserver.toml:2:11: \"5m\" is no duration",
    );
    check(
        "[c2s]\nqueue = \"many\"",
        "homeserver.toml:2:9: invalid type",
    );
    check("[c2s]\nqueue = -1", "homeserver.toml:2:9: ");
    check("[c2s", "homeserver.toml:1:");
    check("[c2s]\nlisten = [\"5222\"]", "homeserver.toml:2:");
    check(
        "[s2s.targets]\nb = { address = \"127.0.0.1:1\", tsl = \"direct\" }",
        "homeserver.toml:2:5: ",
    );
}

#[test]
fn a_hint_is_given_only_where_one_is_near() {
    assert!(!refused("[server]\nfrobnicate = 1").contains("did you mean"));
}

#[test]
fn values_that_cannot_be_are_refused_where_they_stand() {
    let check = |text: &str, expected: &str| {
        let found = refused(text);
        assert!(found.contains(expected), "{found:?} for {text:?}");
    };
    check(
        "[server]\ndomains = []",
        "homeserver.toml:2:1: server.domains: name at least one",
    );
    check(
        "[server]\ndomains = [\"a\", \"a\"]",
        ":2:1: server.domains: a is named twice",
    );
    check(
        "[server]\n\ndomains = [\"\"]",
        ":3:1: server.domains: a domain has no name",
    );
    check(
        "[accounts]\nscram_iterations = 1",
        "2:1: accounts.scram_iterations: 1 is not between",
    );
    check(
        "[c2s]\nstanza_bytes = 9999",
        "c2s.stanza_bytes: 9999 is not between 10000",
    );
    check("[c2s]\nqueue = 0", "2:1: c2s.queue: 0 is not between 1");
    check(
        "[s2s]\nidle = \"0s\"",
        "2:1: s2s.idle: must be longer than nothing",
    );
    check(
        "[s2s]\nretry_most = \"1s\"",
        "s2s.retry_first: longer than retry_most",
    );
    check(
        "[s2s]\nclient_certificate = false",
        "2:1: s2s.client_certificate: nobody would believe us",
    );
    for url in ["http://{domain}", "https://", "https://a/", "https://a?b"] {
        check(&format!("[web]\nurl = \"{url}\""), "2:1: web.url: ");
    }
    for origin in ["chat.example", "https://", "https://chat.example/"] {
        let text = format!("[web]\norigins = [\"{origin}\"]");
        check(&text, "2:1: web.origins: ");
    }
    check(
        "[mls.authority]\nanchors_lifetime = \"8d\"",
        "homeserver.toml:2:1: mls.authority.anchors_lifetime: 8d is more than 7d",
    );
    check(
        "[mls.authority]\ncertificate_lifetime = \"800d\"",
        "mls.authority.certificate_lifetime: longer than issuing_lifetime",
    );
    check(
        "[tls.certificates]\n\"x.example\" = { chain = \"c\", key = \"k\" }",
        "tls.certificates: x.example is not in server.domains",
    );
}

#[test]
fn domains_served_here_are_nobodys_peers() {
    let check = |text: &str, expected: &str| {
        let found = refused(text);
        assert!(found.contains(expected), "{found:?} for {text:?}");
    };
    check(
        "[s2s.targets]\nlocalhost = \"127.0.0.1:1\"",
        "s2s.targets: localhost is served here",
    );
    check(
        "[s2s.domains]\n\"x.example\" = { deny = [] }",
        "s2s.domains: x.example is not in server.domains",
    );
    check(
        "[server]\ndomains = [\"a\", \"b\"]\n[s2s.domains.a.peers]\nb = { policy = \"deny\" }",
        "s2s.domains: peers of a: b is served here",
    );
}

#[test]
fn tokens_services_and_components_are_named_in_full() {
    let check = |text: &str, expected: &str| {
        let found = refused(text);
        assert!(found.contains(expected), "{found:?} for {text:?}");
    };
    check(
        "[mls.authority]\nissuing = \"token\"",
        ":2:1: mls.authority.issuing: name the library of the token",
    );
    check(
        "[mls.authority.token]\nmodule = \"x.so\"",
        "say which token",
    );
    check(
        "[mls.authority.token]\nslot = \"first\"",
        ":2:1: mls.authority.token.slot: \"first\" is no number",
    );
    let service = |keys: &str| format!("[external]\nservices = [{{ type = \"turn\"{keys} }}]");
    check(&service(""), "host");
    check(
        &service(", host = \"\""),
        "external.services: a service needs",
    );
    check(
        &service(", host = \"h\", username = \"u\""),
        "username and password_file go together",
    );
    check(
        &service(", host = \"h\", secret_file = \"s\", username = \"u\", password_file = \"p\""),
        "either secret_file or username",
    );
    check(
        &service(", host = \"h\", lifetime = \"1s\""),
        "lifetime is less than a minute",
    );
    check(
        "[components.secret_files]\nlocalhost = \"s\"",
        "components.secret_files: localhost is served here",
    );
}

#[test]
fn relative_paths_start_where_the_file_lies() {
    let directory = std::env::temp_dir().join(format!("comity-conf-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("homeserver.toml");
    let text = "[server]\ndata_dir = \"data\"\n[tls]\nextra_roots = [\"/abs.pem\", \"ca.pem\"]\n\
                certificates.localhost = { chain = \"c\", key = \"/k\" }";
    std::fs::write(&file, text).unwrap();
    let conf = Conf::load(&file).unwrap();
    assert_eq!(conf.server.data_dir, directory.join("data"));
    let roots = [Path::new("/abs.pem").to_owned(), directory.join("ca.pem")];
    assert_eq!(conf.tls.extra_roots, roots);
    let certificate = &conf.tls.certificates["localhost"];
    assert_eq!(certificate.chain, directory.join("c"));
    assert_eq!(certificate.key, Path::new("/k"));
    std::fs::remove_dir_all(&directory).unwrap();
    let gone = Conf::load(&file).unwrap_err().to_string();
    assert!(gone.contains("homeserver.toml: cannot be read"), "{gone}");
}

#[test]
fn acme_is_a_word_a_url_or_a_table() {
    let acme = |text: &str| parse(&format!("[tls]\nacme = {text}")).unwrap().tls;
    let known = acme("\"letsencrypt\"").acme;
    assert_eq!(
        known.url(),
        "https://acme-v02.api.letsencrypt.org/directory"
    );
    let table =
        acme("{ directory = \"https://ca.example/dir\", challenge = \"dns-01\", hook = \"h\" }");
    assert_eq!(table.acme.url(), "https://ca.example/dir");
    assert_eq!(table.acme.challenge, AcmeChallenge::Dns01);
    assert!(table.acme_for("a.example").is_some());
    assert!(table.acme_for("localhost").is_none());
    assert!(Conf::default().tls.acme_for("a.example").is_none());
    for (text, why) in [
        ("\"letsencript\"", "neither an https URL nor one of"),
        ("\"http://ca.example\"", "neither an https URL"),
        (
            "{ directory = \"letsencrypt\", challenge = \"dns-01\" }",
            "needs update or hook",
        ),
        (
            "{ directory = \"letsencrypt\", hook = \"h\" }",
            "are for challenge",
        ),
        (
            "{ directory = \"letsencrypt\", chalenge = \"dns-01\" }",
            "a URL, or { directory",
        ),
    ] {
        let refused = refused(&format!("[tls]\nacme = {text}"));
        assert!(refused.contains(why), "{text}: {refused}");
    }
}
