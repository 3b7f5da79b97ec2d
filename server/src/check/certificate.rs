//! Will clients and other domains believe the certificate of a domain, and for how long?

use std::path::Path;
use std::time::{Duration, SystemTime};

use comity_net::tls::verdict::{self, Unproven};
use comity_net::tls::{CertificateFiles, Roots, Service, TlsError};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::X509;

use super::{Findings, Ground};
use crate::run::tls::files;

const CHECK: &str = "certificate";
/// With less left, whoever renews certificates has missed it.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn check(ground: &Ground, domain: &str, found: &mut Findings) {
    let files = files(&ground.conf, domain);
    let configured = ground.conf.tls.certificates.contains_key(domain);
    if !files.chain.exists() && !configured {
        let what = "it has no certificate yet: the server makes one of its own at its first start";
        return found.advice(CHECK, domain, what, remedy(domain));
    }
    match look(ground, domain, &files) {
        Ok(until) => lasting(ground, domain, &files, &until, found),
        Err(Fault::Files(error)) => found.fault(
            CHECK,
            domain,
            error.to_string(),
            "see [tls.certificates] in the configuration, and the rights of those files",
        ),
        Err(Fault::Unproven(why)) => found.fault(
            CHECK,
            domain,
            format!(
                "{}: {why}: clients and other domains refuse it",
                files.chain.display()
            ),
            match why {
                Unproven::OtherName { .. } => format!(
                    "get a certificate that names {domain} (a SAN of kind DNS), and {}",
                    remedy(domain)
                ),
                _ => remedy(domain),
            },
        ),
        Err(Fault::Private) => found.advice(
            CHECK,
            domain,
            format!(
                "{} leads to an authority in tls.extra_roots: only who is told to trust that \
                 believes it",
                files.chain.display()
            ),
            remedy(domain),
        ),
    }
}

enum Fault {
    Files(TlsError),
    Unproven(Unproven),
    /// Only those believe it who have been told of its authority.
    Private,
}

fn look(ground: &Ground, domain: &str, files: &CertificateFiles) -> Result<X509, Fault> {
    let chain = files.load().map_err(Fault::Files)?;
    let tls = &ground.conf.tls;
    let roots = |extra: &[_]| Roots::load(tls.system_roots, extra).map_err(Fault::Files);
    let judge = |roots: &Roots, service| verdict::judge(&chain, domain, service, roots, ground.now);
    // A private network believes what it is told to believe.
    let public = if tls.system_roots {
        roots(&[])?
    } else {
        roots(&tls.extra_roots)?
    };
    for service in [Service::Client, Service::Server] {
        if let Err(why) = judge(&public, service) {
            let all = roots(&tls.extra_roots)?;
            judge(&all, service).map_err(|_| Fault::Unproven(why))?;
            return Err(Fault::Private);
        }
    }
    let first = chain.first().ok_or(Fault::Unproven(Unproven::Absent))?;
    X509::from_der(first).map_err(|error| Fault::Unproven(Unproven::Unreadable(error.to_string())))
}

fn lasting(
    ground: &Ground,
    domain: &str,
    files: &CertificateFiles,
    certificate: &X509,
    found: &mut Findings,
) {
    let until = certificate.not_after();
    let path = files.chain.display();
    if !ends_soon(until, ground.now) {
        return found.ok(
            CHECK,
            domain,
            format!("{path} is believed, and lasts until {until}"),
        );
    }
    found.advice(
        CHECK,
        domain,
        format!("{path} is believed, but ends soon, on {until}"),
        match ground.conf.tls.acme_for(domain) {
            Some(_) => "the server renews it: its log says why it has not".to_owned(),
            None => "renew it: the server reads it again when the file changes".to_owned(),
        },
    );
}

/// Has whoever renews it missed the day?
pub(crate) fn ends_soon(until: &Asn1TimeRef, now: SystemTime) -> bool {
    left(until, now).is_none_or(|left| left <= SOON)
}

pub(super) fn left(until: &Asn1TimeRef, now: SystemTime) -> Option<Duration> {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let now = Asn1Time::from_unix(i64::try_from(seconds).ok()?).ok()?;
    let left = now.diff(until).ok()?;
    let seconds = i64::from(left.days) * 86_400 + i64::from(left.secs);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// How one comes by a certificate that is believed.
fn remedy(domain: &str) -> String {
    let live = Path::new("/etc/letsencrypt/live").join(domain);
    format!(
        "in [tls]:               acme = \"letsencrypt\"\n\
         or, with certbot's, in [tls.certificates]:\n\
         \x20   \"{domain}\" = {{ chain = \"{}\", key = \"{}\" }}",
        live.join("fullchain.pem").display(),
        live.join("privkey.pem").display(),
    )
}
