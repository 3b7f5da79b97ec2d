//! SASL on a client's stream (RFC 6120 §6): one exchange at a time, over the steps of
//! [`comity_xmpp::sasl`]. Every way to be wrong about an account or a password has one answer.

use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::sasl::{
    self, Bindings, Condition, Failure, Hash, Mechanism, Plain, ScramFirst, ScramKeys, ScramWaiting,
};
use comity_xmpp::stream::Features;

use super::Secured;
use crate::link::Credentials;

/// XEP-0440.
const CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// The registered names of the bindings of RFC 9266 and RFC 5929.
const TLS_EXPORTER: &str = "tls-exporter";
const TLS_SERVER_END_POINT: &str = "tls-server-end-point";

/// A password to be held against the keys of an account: thousands of hashes, so off the reactor.
#[derive(Debug)]
pub struct PasswordCheck {
    keys: ScramKeys,
    password: String,
}

impl PasswordCheck {
    /// Slow on purpose.
    #[must_use]
    pub fn run(&self) -> bool {
        self.keys.verify_password(&self.password)
    }
}

/// What a step comes to.
pub(super) enum Outcome {
    Say(Element),
    Ask(BareJid),
    Check(PasswordCheck),
    Success(BareJid, Element),
    Failure(Failure),
}

/// The authentication of one stream.
pub(super) struct Auth {
    host: String,
    plain: bool,
    scram: Vec<Hash>,
    bindings: Bindings,
    /// The mechanism in use.
    chosen: &'static str,
    step: Step,
}

/// Named for what is awaited.
enum Step {
    Auth,
    /// The first message, after our empty challenge (RFC 6120 §6.4.2).
    First(Mechanism),
    /// The account's keys.
    ScramKeys {
        account: BareJid,
        hash: Hash,
        first: ScramFirst,
    },
    PlainKeys {
        account: BareJid,
        password: String,
    },
    /// Whether the password is right.
    Check {
        account: BareJid,
        usable: bool,
    },
    /// The client's final message.
    Final {
        account: BareJid,
        usable: bool,
        waiting: Box<ScramWaiting>,
    },
    /// The empty answer of a client that wants the server's proof as a challenge is not awaited:
    /// it goes with the success (RFC 6120 §6.4.6).
    Done,
}

impl Auth {
    pub(super) fn new(host: &str, plain: bool, scram: &[Hash], secured: Secured) -> Self {
        let exporter = secured.exporter.map(|data| (TLS_EXPORTER, data.to_vec()));
        let end_point =
            (secured.end_point).map(|data| (TLS_SERVER_END_POINT, data.as_bytes().to_vec()));
        Self {
            host: host.to_owned(),
            plain,
            scram: scram.to_vec(),
            bindings: Bindings(exporter.into_iter().chain(end_point).collect()),
            chosen: "",
            step: Step::Auth,
        }
    }

    /// The strongest first: clients that do not choose by themselves take the first they know.
    fn mechanisms(&self) -> Vec<Mechanism> {
        let bound = !self.bindings.0.is_empty();
        let scram = |plus| {
            let hashes = self.scram.iter().copied();
            hashes.map(move |hash| Mechanism::Scram { hash, plus })
        };
        let plus = scram(true).filter(|_| bound);
        let plain = self.plain.then_some(Mechanism::Plain);
        plus.chain(scram(false)).chain(plain).collect()
    }

    pub(super) fn offer(&self, features: &mut Features) {
        let names = self.mechanisms().into_iter().map(|m| m.as_str().to_owned());
        features.mechanisms = names.collect();
        if !self.bindings.0.is_empty() {
            let kinds = self.bindings.0.iter().map(|(kind, _)| {
                Element::new(CHANNEL_BINDING, "channel-binding").with_attr("type", *kind)
            });
            let offer = Element::new(CHANNEL_BINDING, "sasl-channel-binding").with_children(kinds);
            features.others.push(offer);
        }
    }

    pub(super) fn chosen(&self) -> &'static str {
        self.chosen
    }

    /// Is an answer of the server awaited?
    pub(super) fn asks(&self) -> bool {
        matches!(
            self.step,
            Step::ScramKeys { .. } | Step::PlainKeys { .. } | Step::Check { .. } | Step::Done
        )
    }

    pub(super) fn receive(
        &mut self,
        element: &Element,
        random: &mut dyn FnMut() -> String,
    ) -> Outcome {
        let _ = random;
        let outcome = match (
            element.name.as_str(),
            std::mem::replace(&mut self.step, Step::Auth),
        ) {
            ("auth", Step::Auth) => self.begin(element),
            ("response", Step::First(mechanism)) => self.first(mechanism, &element.text()),
            (
                "response",
                Step::Final {
                    account,
                    usable,
                    waiting,
                },
            ) => finish(account, usable, *waiting, &element.text()),
            ("abort", _) => Err(Failure::new(Condition::Aborted)),
            (name, _) => Err(Failure::new(Condition::MalformedRequest)
                .with_text(format!("<{name}/> was not expected at this point"))),
        };
        self.settle(outcome)
    }

    pub(super) fn credentials(
        &mut self,
        credentials: Credentials,
        random: &mut dyn FnMut() -> String,
    ) -> Outcome {
        let Credentials {
            sha1,
            sha256,
            plain,
            usable,
        } = credentials;
        match std::mem::replace(&mut self.step, Step::Auth) {
            Step::ScramKeys {
                account,
                hash,
                first,
            } => {
                let keys = match hash {
                    Hash::Sha1 => sha1,
                    Hash::Sha256 => sha256,
                };
                let (challenge, waiting) = first.challenge(keys, &random());
                self.step = Step::Final {
                    account,
                    usable,
                    waiting: Box::new(waiting),
                };
                Outcome::Say(message("challenge", &challenge))
            }
            Step::PlainKeys { account, password } => {
                self.step = Step::Check { account, usable };
                let keys = match plain {
                    Hash::Sha1 => sha1,
                    Hash::Sha256 => sha256,
                };
                Outcome::Check(PasswordCheck { keys, password })
            }
            _ => self.settle(Err(Failure::new(Condition::TemporaryAuthFailure))),
        }
    }

    pub(super) fn checked(&mut self, right: bool) -> Outcome {
        let outcome = match std::mem::replace(&mut self.step, Step::Auth) {
            Step::Check { account, usable } if right && usable => {
                Ok(Outcome::Success(account, Element::new(ns::SASL, "success")))
            }
            Step::Check { .. } => Err(Failure::new(Condition::NotAuthorized)),
            _ => Err(Failure::new(Condition::TemporaryAuthFailure)),
        };
        self.settle(outcome)
    }

    fn settle(&mut self, outcome: Result<Outcome, Failure>) -> Outcome {
        match outcome {
            Ok(success @ Outcome::Success(..)) => {
                self.step = Step::Done;
                success
            }
            Ok(outcome) => outcome,
            Err(failure) => {
                self.step = Step::Auth;
                Outcome::Failure(failure)
            }
        }
    }

    fn begin(&mut self, auth: &Element) -> Result<Outcome, Failure> {
        let mechanism = auth
            .attr("mechanism")
            .and_then(Mechanism::from_name)
            .filter(|mechanism| self.mechanisms().contains(mechanism))
            .ok_or_else(|| {
                Failure::new(Condition::InvalidMechanism).with_text("choose one that is offered")
            })?;
        self.chosen = mechanism.as_str();
        let initial = auth.text();
        if initial.is_empty() {
            self.step = Step::First(mechanism);
            return Ok(Outcome::Say(Element::new(ns::SASL, "challenge")));
        }
        self.first(mechanism, &initial)
    }

    fn first(&mut self, mechanism: Mechanism, text: &str) -> Result<Outcome, Failure> {
        let message = sasl::decode(text.trim())?;
        match mechanism {
            Mechanism::Scram { hash, plus } => {
                let first = ScramFirst::parse(&message, plus, &self.bindings)?;
                let account = self.account(&first.username, first.authzid.as_deref())?;
                self.step = Step::ScramKeys {
                    account: account.clone(),
                    hash,
                    first,
                };
                Ok(Outcome::Ask(account))
            }
            Mechanism::Plain => {
                let plain = Plain::parse(&message)?;
                let account = self.account(&plain.authcid, plain.authzid.as_deref())?;
                let password = plain.password;
                self.step = Step::PlainKeys {
                    account: account.clone(),
                    password,
                };
                Ok(Outcome::Ask(account))
            }
            Mechanism::External => Err(Failure::new(Condition::InvalidMechanism)),
        }
    }

    /// RFC 6120 §6.3.8: the simple user name is the localpart; some clients send the whole
    /// address. §6.3.7: acting as another is refused.
    fn account(&self, username: &str, authzid: Option<&str>) -> Result<BareJid, Failure> {
        let unknown = || Failure::new(Condition::NotAuthorized);
        let address = if username.contains('@') {
            username.to_owned()
        } else {
            format!("{username}@{}", self.host)
        };
        let account = BareJid::parse(&address).map_err(|_| unknown())?;
        if account.local().is_none() || account.domain() != self.host {
            return Err(unknown());
        }
        match authzid {
            Some(authzid) if Jid::parse(authzid).ok().as_ref() != Some(account.as_jid()) => {
                Err(Failure::new(Condition::InvalidAuthzid)
                    .with_text("you may act for your own account only"))
            }
            _ => Ok(account),
        }
    }
}

fn finish(
    account: BareJid,
    usable: bool,
    waiting: ScramWaiting,
    text: &str,
) -> Result<Outcome, Failure> {
    let accepted = waiting.finish(&sasl::decode(text.trim())?)?;
    if !usable {
        return Err(Failure::new(Condition::NotAuthorized));
    }
    Ok(Outcome::Success(
        account,
        message("success", &accepted.message),
    ))
}

fn message(name: &str, bytes: &[u8]) -> Element {
    Element::new(ns::SASL, name).with_text(sasl::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_what_the_operator_says() {
        let offered = |plain, scram: &[Hash]| -> Vec<&str> {
            let auth = Auth::new("a.example", plain, scram, Secured::default());
            auth.mechanisms()
                .into_iter()
                .map(Mechanism::as_str)
                .collect()
        };
        let both = [Hash::Sha256, Hash::Sha1];
        assert_eq!(
            offered(true, &both),
            ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
        );
        assert_eq!(offered(false, &[Hash::Sha1]), ["SCRAM-SHA-1"]);
        assert_eq!(offered(true, &[]), ["PLAIN"]);
        let secured = Secured {
            exporter: Some([7; 32]),
            end_point: None,
        };
        let auth = Auth::new("a.example", false, &[Hash::Sha1], secured);
        let names: Vec<_> = auth
            .mechanisms()
            .into_iter()
            .map(Mechanism::as_str)
            .collect();
        assert_eq!(names, ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]);
    }
}
