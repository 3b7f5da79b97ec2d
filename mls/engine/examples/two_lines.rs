//! The loop around an engine. A real client sends each [`Outgoing`] as an IQ and feeds answers and
//! messages back; here the other end is a server that knows nothing and refuses all.
//!
//! `cargo run -p comity-mls-engine --example two_lines`

use std::time::{SystemTime, UNIX_EPOCH};

use comity_mls_engine::{
    Answer, Engine, Error, Event, MemoryKeys, MemoryStore, Options, Outgoing, Request,
};
use comity_mls_wire::authority;
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Stands for the stream to one's own server.
fn carry(outgoing: &Outgoing) -> Result<Answer, Refusal> {
    println!("to {:?}: {:?}", outgoing.to, outgoing.request);
    match &outgoing.request {
        Request::Authority(authority::Request::Challenge) => {
            Ok(Answer::Authority(authority::Answer::Challenge {
                nonce: b"a nonce".to_vec().into(),
            }))
        }
        _ => Err(Refusal::LimitReached {
            limit: "this server takes no devices".to_owned(),
        }),
    }
}

fn show(event: &Event) {
    match event {
        Event::Refused { what, why, .. } => println!("{what:?} was refused: {why}"),
        Event::Warning { warning, .. } => println!("Beware: {warning}"),
        other => println!("{other:?}"),
    }
}

fn main() -> Result<(), Error> {
    let account = BareJid::parse("alice@a.example").map_err(|e| Error::Mls(e.to_string()))?;
    let mut engine = Engine::open(
        account,
        Box::new(MemoryStore::new()),
        Box::new(MemoryKeys::new()),
        Options::default(),
    )?;
    engine.session_started(None, now())?;
    engine.enrol("laptop", now())?;
    loop {
        while let Some(event) = engine.poll_event() {
            show(&event);
        }
        let Some(outgoing) = engine.poll_request() else {
            return Ok(());
        };
        let answer = carry(&outgoing);
        engine.answer(outgoing.id, answer, now())?;
    }
}
