//! Trying a domain's servers one after the other for the operator, as a stream would be opened, and
//! telling of each what came of it.

use comity_net::connect::Unreachable;
use comity_net::dns::order::Target;
use comity_net::random;
use comity_net::tls::TlsError;
use comity_net::tls::verdict::Unproven;
use rustls_pki_types::CertificateDer;

use crate::link::Peers;
use crate::outgoing::{Command, Over, Settings, Ways};
use crate::reach::{Fault, Reached, attempt, secret};
use crate::resolve::{Nowhere, resolve};

/// Servers of one domain that are tried.
const TARGETS: usize = 16;
/// How long a peer may take to read our last words.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);

/// One server of a domain.
#[derive(Debug)]
pub struct Probe {
    pub target: Target,
    /// Where the stream became ready, what it was like.
    pub result: Result<Met, Fruitless>,
}

/// A server that let us in.
#[derive(Debug)]
pub struct Met {
    /// What it has shown, its own certificate first.
    pub shown: Vec<CertificateDer<'static>>,
    /// What it asked of us.
    pub ways: Ways,
}

/// Why a server was of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fruitless {
    pub why: String,
    pub whose: Whose,
    /// It takes dialback, which we have not tried.
    pub dialback: bool,
}

/// Whom it is for to mend that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nobody answers, or the way there is shut.
    Network,
    /// The peer's certificate.
    Theirs,
    /// Ours, in the peer's eyes.
    Ours,
    /// Something else that the peer says or does.
    Peer,
}

impl Peers {
    /// Tries every server of `domain` in the name of `ours`. No stanza is sent.
    ///
    /// # Errors
    /// When the domain has none.
    pub async fn probe(&self, ours: &str, domain: &str) -> Result<Vec<Probe>, Nowhere> {
        let shared = &*self.0;
        let overrides = &shared.options.targets;
        let targets = resolve(&*shared.lookup, overrides, domain, &mut random::up_to).await?;
        let mut probes = Vec::new();
        for target in targets.into_iter().take(TARGETS) {
            let settings = Settings {
                ours: ours.to_owned(),
                theirs: domain.to_owned(),
                // The place of our queue is with the stream that carries it.
                queue: None,
                dialback: secret(shared, ours, domain),
                verify: None,
                bidi: None,
                negotiation: shared.options.negotiation,
            };
            let result = match attempt(shared, settings, &target).await {
                Ok(Reached::Stream(mut stream)) => {
                    let met = Met {
                        shown: stream.stream().peer_chain(),
                        ways: stream.machine().ways(),
                    };
                    stream.command(Command::Close(None));
                    stream.shutdown(LAST_WORDS).await;
                    Ok(met)
                }
                Ok(Reached::Verdict(_)) => Err(Fruitless {
                    whose: Whose::Peer,
                    dialback: false,
                    why: "it answers what was not asked".to_owned(),
                }),
                Err(fault) => Err(Fruitless {
                    whose: whose(&fault),
                    dialback: match &fault {
                        Fault::Over(Over::NoExternal(_) | Over::Refused { .. }, ways) => {
                            ways.dialback
                        }
                        _ => false,
                    },
                    why: fault.to_string(),
                }),
            };
            probes.push(Probe { target, result });
        }
        Ok(probes)
    }
}

fn whose(fault: &Fault) -> Whose {
    match fault {
        Fault::Unreachable(
            Unreachable::Dns(_) | Unreachable::NoAddress { .. } | Unreachable::Private { .. },
        ) => Whose::Peer,
        Fault::Unreachable(_) => Whose::Network,
        Fault::Tls(TlsError::Unproven(_)) => Whose::Theirs,
        Fault::Over(Over::Unproven { why, .. }, _) => match why {
            Unproven::Absent => Whose::Peer,
            _ => Whose::Theirs,
        },
        Fault::Over(Over::NoExternal(_) | Over::Refused { .. }, _) => Whose::Ours,
        Fault::Tls(_) | Fault::Ended(_) | Fault::Over(..) => Whose::Peer,
    }
}
