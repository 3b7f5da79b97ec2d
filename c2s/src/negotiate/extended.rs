//! The Extensible SASL Profile (XEP-0388): the same exchanges as in RFC 6120 §6 in other words, and
//! with them, in one round trip, what the client wants next: a session (XEP-0386) or its old one
//! (XEP-0198 §9.1). The stream goes on without a restart.

use comity_xmpp::ack;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaError, StreamError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::sasl::{Failure, Hash};
use comity_xmpp::stream::Features;

use super::fast;
use super::resume::ID_BYTES;
use super::{
    BindOptions, Event, Negotiate, NewSession, NotResumed, Outcome, Resumed, State,
    session_features,
};
use crate::link::FastToken;

/// Characters of a client's tag that become part of its resource.
const TAG_CHARS: usize = 64;
/// Characters of the part that tells clients of the same tag apart.
const MARK_CHARS: usize = 12;

/// What the client wants done once it is authenticated, and what has come of it so far.
#[derive(Debug)]
pub(super) struct Extended {
    bind: Option<Bind>,
    resume: Option<(String, u32)>,
    /// `<user-agent id=''>`, which the client keeps for ever and tells nobody else.
    pub(super) user_agent: Option<String>,
    /// The mechanism of the token it wants (XEP-0484).
    pub(super) token_wanted: Option<&'static str>,
    pub(super) token: Option<FastToken>,
    /// What the server has to add when it is done: its proof (RFC 5802).
    pub(super) proof: Option<String>,
    /// The old session is not there.
    not_resumed: Option<Element>,
}

#[derive(Clone, Debug)]
struct Bind {
    tag: Option<String>,
    carbons: bool,
    /// Nobody looks at the client (XEP-0352).
    inactive: bool,
    /// Stream management, perhaps with resumption.
    acking: bool,
    resumable: bool,
}

/// What is offered beside the mechanisms, which are those of RFC 6120.
pub(super) fn offer(features: &mut Features, tokens: &[&str]) {
    let inline = [ns::CARBONS, ns::CSI, ns::SM]
        .map(|feature| Element::new(ns::BIND2, "feature").with_attr("var", feature));
    let inline = Element::new(ns::BIND2, "inline").with_children(inline);
    let bind = Element::new(ns::BIND2, "bind").with_child(inline);
    let mut inline = Element::new(ns::SASL2, "inline")
        .with_child(bind)
        .with_child(Element::new(ns::SM, "sm"));
    if !tokens.is_empty() {
        let tokens = tokens
            .iter()
            .map(|name| Element::new(ns::FAST, "mechanism").with_text(*name));
        inline.push(Element::new(ns::FAST, "fast").with_children(tokens));
    }
    let mechanisms = features
        .mechanisms
        .iter()
        .map(|name| Element::new(ns::SASL2, "mechanism").with_text(name));
    let authentication = Element::new(ns::SASL2, "authentication")
        .with_children(mechanisms)
        .with_child(inline);
    features.others.push(authentication);
}

impl Extended {
    fn read(authenticate: &Element) -> Self {
        let bind = authenticate.child(ns::BIND2, "bind").map(|bind| {
            let enable = bind.child(ns::SM, "enable");
            let wanted = enable.and_then(|enable| enable.attr("resume"));
            Bind {
                tag: bind.child(ns::BIND2, "tag").map(Element::text),
                carbons: bind.child(ns::CARBONS, "enable").is_some(),
                inactive: bind.child(ns::CSI, "inactive").is_some(),
                acking: enable.is_some(),
                resumable: matches!(wanted, Some("true" | "1")),
            }
        });
        let resume = authenticate.child(ns::SM, "resume").and_then(|resume| {
            let id = resume.attr("previd").filter(|id| id.len() <= ID_BYTES)?;
            Some((id.to_owned(), ack::h(resume)?))
        });
        let user_agent = authenticate.child(ns::SASL2, "user-agent");
        let user_agent = user_agent.and_then(|agent| agent.attr("id"));
        let user_agent = user_agent.filter(|id| !id.is_empty() && id.len() <= ID_BYTES);
        Self {
            token_wanted: fast::wanted(authenticate),
            token: None,
            bind,
            resume,
            user_agent: user_agent.map(str::to_owned),
            proof: None,
            not_resumed: None,
        }
    }

    /// XEP-0386 §4: the resource begins with the client's tag; what follows tells two devices
    /// apart and stays the same for one of them, as far as it lets itself be known again.
    fn resource(&self, account: &BareJid, random: &mut dyn FnMut() -> String) -> Option<String> {
        let tag = self.bind.as_ref()?.tag.as_deref()?;
        let mark = match &self.user_agent {
            Some(agent) => Hash::Sha256
                .digest(format!("{account}\0{agent}").as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            None => random(),
        };
        let tag: String = tag.chars().take(TAG_CHARS).collect();
        let mark: String = mark.chars().take(MARK_CHARS).collect();
        let resource = format!("{tag}.{mark}");
        // A tag that cannot be part of an address is left out: the server makes a resource.
        account
            .with_resource(&resource)
            .ok()?
            .resource()
            .map(str::to_owned)
    }
}

impl Negotiate {
    /// `<authenticate/>`, `<response/>` or `<abort/>`.
    pub(super) fn extended(&mut self, element: &Element) -> Result<(), StreamError> {
        let State::Auth(auth) = &mut self.state else {
            return Ok(());
        };
        let plain = match element.name.as_str() {
            "authenticate" => {
                self.extended = Some(Extended::read(element));
                if element.attr("mechanism").is_some_and(fast::is_one) {
                    return self.fast(element);
                }
                let initial = element.child(ns::SASL2, "initial-response");
                Element::new(ns::SASL, "auth")
                    .with_attr_opt("mechanism", element.attr("mechanism"))
                    .with_text(initial.map(Element::text).unwrap_or_default())
            }
            name => Element::new(ns::SASL, name).with_text(element.text()),
        };
        // Answered in the words it came in, even where no exchange was begun.
        self.extended.get_or_insert_with(|| Extended::read(element));
        let outcome = auth.receive(&plain, &mut self.settings.random);
        self.mechanism = auth.chosen();
        self.extended_authentication(outcome)
    }

    pub(super) fn extended_authentication(&mut self, outcome: Outcome) -> Result<(), StreamError> {
        match outcome {
            Outcome::Say(said) => {
                let said = Element::new(ns::SASL2, said.name.as_str()).with_text(said.text());
                self.speaker.say(&said);
            }
            Outcome::Ask(account) => self.ask(account),
            Outcome::Check(check) => self.events.push_back(Event::Check(check)),
            Outcome::Success(account, success) => {
                if let Some(extended) = &mut self.extended {
                    let proof = success.text();
                    extended.proof = (!proof.is_empty()).then_some(proof);
                }
                self.after_password(account);
            }
            Outcome::Failure(failure) => return self.refuse_authentication(&failure),
        }
        Ok(())
    }

    pub(super) fn refuse_authentication(&mut self, failure: &Failure) -> Result<(), StreamError> {
        self.extended = None;
        self.speaker.say(&refusal(failure));
        self.tell_failure(failure);
        self.failed("to authenticate")
    }

    /// The client is authenticated: first its old session, then a new one, then neither.
    pub(super) fn go_on(&mut self, account: BareJid) {
        let Some(extended) = &mut self.extended else {
            return;
        };
        if let Some((id, h)) = extended.resume.take() {
            self.events.push_back(Event::Resume {
                account: account.clone(),
                id: id.clone(),
                h,
            });
            self.state = State::Resuming { account, id };
            return;
        }
        if let Some(bind) = extended.bind.clone() {
            let resource = extended.resource(&account, &mut self.settings.random);
            self.events.push_back(Event::Bind {
                account: account.clone(),
                resource,
                options: BindOptions {
                    carbons: bind.carbons,
                    acking: bind.acking,
                    resumable: bind.resumable && self.resumption.is_some(),
                },
            });
            self.state = State::Session {
                account,
                id: Box::default(),
            };
            return;
        }
        let success = self.success(account.as_jid());
        self.speaker.say(&success);
        self.offer_sessions(account);
    }

    /// XEP-0388 §2.6: without a restart, the features of whoever is authenticated.
    fn offer_sessions(&mut self, account: BareJid) {
        self.extended = None;
        let mut features = Features::default();
        session_features(&mut features);
        features.others.push(self.limits());
        self.speaker.say(&features.to_element());
        self.state = State::Bind(account);
    }

    /// `<success/>`, so far.
    fn success(&mut self, who: &Jid) -> Element {
        let mut success = Element::new(ns::SASL2, "success");
        if let Some(extended) = &mut self.extended {
            if let Some(proof) = extended.proof.take() {
                success.push(Element::new(ns::SASL2, "additional-data").with_text(proof));
            }
            let who = Element::new(ns::SASL2, "authorization-identifier").with_text(who.as_str());
            success.push(who);
            if let Some(FastToken { token, expiry }) = extended.token.take() {
                let token = Element::new(ns::FAST, "token")
                    .with_attr("expiry", expiry)
                    .with_attr("token", token);
                success.push(token);
            }
            if let Some(failed) = extended.not_resumed.take() {
                success.push(failed);
            }
        }
        success
    }

    pub(super) fn extended_resumed(
        &mut self,
        answer: Result<Resumed, NotResumed>,
    ) -> Result<(), StreamError> {
        let State::Resuming { account, id } = &self.state else {
            return Ok(());
        };
        let (account, id) = (account.clone(), id.clone());
        match answer {
            Ok(Resumed { session, h }) => {
                let resumed = Element::new(ns::SM, "resumed")
                    .with_attr("previd", id)
                    .with_attr("h", h.to_string());
                let success = self.success(&session).with_child(resumed);
                // XEP-0198 §9.1: everything was negotiated long ago.
                self.speaker.say(&success);
                self.done(session);
            }
            Err(NotResumed { h }) => {
                // XEP-0198 §9.1: authentication has not failed with it; binding goes ahead.
                if let Some(extended) = &mut self.extended {
                    extended.not_resumed = Some(ack::not_resumed(h));
                }
                self.go_on(account);
            }
        }
        Ok(())
    }

    pub(super) fn extended_bound(
        &mut self,
        answer: Result<NewSession, StanzaError>,
    ) -> Result<(), StreamError> {
        match answer {
            Ok(NewSession {
                session,
                id,
                welcome,
            }) => {
                let mut bound = Element::new(ns::BIND2, "bound").with_children(welcome);
                let bind = self.extended.as_ref().and_then(|e| e.bind.as_ref());
                let (acking, inactive) = bind.map_or((false, false), |b| (b.acking, b.inactive));
                self.inactive = inactive;
                if acking {
                    self.acking = true;
                    bound.push(ack::enabled(id.as_deref(), self.resumption));
                }
                let success = self.success(&session).with_child(bound);
                self.speaker.say(&success);
                self.offer_rest();
                self.done(session);
                Ok(())
            }
            // There is no way to say so in XEP-0386: the client asks again in the old way.
            Err(_) => {
                let State::Session { account, .. } = &self.state else {
                    return Ok(());
                };
                let account = account.clone();
                let success = self.success(account.as_jid());
                self.speaker.say(&success);
                self.offer_sessions(account);
                self.failed("to bind")
            }
        }
    }

    /// XEP-0388 §2.6: the features that are left to whoever has a session.
    fn offer_rest(&mut self) {
        let mut features = Features::default();
        session_features(&mut features);
        features.others.push(self.limits());
        features.bind = false;
        features.session = false;
        features.stream_management = !self.acking;
        self.speaker.say(&features.to_element());
    }

    fn done(&mut self, session: Jid) {
        self.extended = None;
        self.state = State::Done(session);
        self.events.push_back(Event::Done);
    }
}

/// `<failure/>`: RFC 6120's condition inside XEP-0388's element.
fn refusal(failure: &Failure) -> Element {
    let mut refusal = Element::new(ns::SASL2, "failure")
        .with_child(Element::new(ns::SASL, failure.condition.as_str()));
    if let Some(text) = &failure.text {
        refusal.push(Element::new(ns::SASL2, "text").with_text(text));
    }
    refusal
}
