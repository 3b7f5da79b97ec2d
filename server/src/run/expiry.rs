//! Looks after the time that our own certificates have left: for the metrics, and for the log of
//! whoever has forgotten to renew them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use comity_net::stop::Stop;
use comity_net::tls::Certificates;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::X509;
use tracing::{error, info, warn};

use crate::home::Home;

/// How often it is looked at: as often as the files are, for a change.
const EVERY: Duration = Duration::from_secs(60);
/// How often it is said.
const SAID_EVERY_S: u64 = 86_400;
/// With less left, whoever renews certificates has missed it.
const SOON_S: u64 = 14 * 86_400;

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u64,
    until: u64,
}

/// What is to be said of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It ends soon.
    Soon,
    Over,
}

pub(super) async fn watch(certificates: Arc<Certificates>, home: Home, mut stop: Stop) {
    let mut said: HashMap<String, (u64, Word)> = HashMap::new();
    loop {
        for domain in home.hosts.domains() {
            look(&certificates, &home, domain, &mut said);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.wait() => return,
        }
    }
}

fn look(
    certificates: &Certificates,
    home: &Home,
    domain: &str,
    said: &mut HashMap<String, (u64, Word)>,
) {
    let Some(span) = span(certificates, domain) else {
        return;
    };
    home.expiries.set(domain, span.until);
    let now = home.now_s();
    let before = said.get(domain).copied();
    let until = crate::time::day(span.until);
    match (word(span, now), before) {
        (None, Some(_)) => {
            info!(%domain, %until, "our certificate has been renewed");
            said.remove(domain);
        }
        (Some(word), before) if due(word, before, now) => {
            said.insert(domain.to_owned(), (now, word));
            match word {
                Word::Soon => warn!(
                    %domain, %until,
                    "our certificate ends soon: `comity check` tells how to renew it"
                ),
                Word::Over => error!(
                    %domain, %until,
                    "our certificate is over: clients and other domains refuse it; `comity check` \
                     tells how to renew it"
                ),
            }
        }
        _ => {}
    }
}

/// A day is long enough to do something about it, and what has become worse is said at once.
fn due(word: Word, before: Option<(u64, Word)>, now: u64) -> bool {
    before.is_none_or(|(when, said)| said != word || now >= when + SAID_EVERY_S)
}

/// One that was made for a few days only is renewed late: a quarter of its life is soon then.
fn word(span: Span, now: u64) -> Option<Word> {
    let soon = SOON_S.min(span.until.saturating_sub(span.from) / 4);
    if now >= span.until {
        return Some(Word::Over);
    }
    (span.until - now <= soon).then_some(Word::Soon)
}

fn span(certificates: &Certificates, domain: &str) -> Option<Span> {
    let chain = certificates.chain(domain);
    let certificate = X509::from_der(chain.first()?).ok()?;
    Some(Span {
        from: unix(certificate.not_before())?,
        until: unix(certificate.not_after())?,
    })
}

fn unix(time: &Asn1TimeRef) -> Option<u64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    u64::try_from(i64::from(since.days) * 86_400 + i64::from(since.secs)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_is_said_once_a_day_and_the_end_at_once() {
        const DAY: u64 = 86_400;
        let ninety = Span {
            from: 0,
            until: 90 * DAY,
        };
        let six = Span {
            from: 0,
            until: 6 * DAY,
        };
        for (span, now, expected) in [
            (ninety, 75 * DAY, None),
            (ninety, 76 * DAY, Some(Word::Soon)),
            (ninety, 90 * DAY - 1, Some(Word::Soon)),
            (ninety, 90 * DAY, Some(Word::Over)),
            (six, 4 * DAY, None),
            (six, 5 * DAY, Some(Word::Soon)),
        ] {
            assert_eq!(word(span, now), expected, "{span:?} at {now}");
        }
        assert!(due(Word::Soon, None, 0));
        assert!(!due(Word::Soon, Some((0, Word::Soon)), DAY - 1));
        assert!(due(Word::Soon, Some((0, Word::Soon)), DAY));
        assert!(due(Word::Over, Some((0, Word::Soon)), 1));
    }

    #[test]
    fn times_are_read_from_the_certificate() {
        let time = Asn1Time::from_unix(1_800_000_123).unwrap();
        assert_eq!(unix(&time), Some(1_800_000_123));
    }
}
