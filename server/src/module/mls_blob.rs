//! Large MLS objects beside the stanzas that name them (`mls/PROTOCOL.md` §7.8): devices of ours
//! send them up, whoever knows their hash fetches them, and what a request or an entry names is
//! fetched from the domain that sent it.

use comity_mls_wire::blob::{self, Answer, Named, Request as Asked};
use comity_mls_wire::limits::OBJECT_BYTES;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::payload_hash;
use comity_storage::blobs::{Held, Put, PutBlobs, PutChunk, SealBlob};
use comity_xmpp::element::Element;
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind};

use super::{Context, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::requests;

pub const MODULE: Module = Module {
    name: "mls_blob",
    handles: &[
        asked(IqType::Get, "chunk"),
        asked(IqType::Get, "held"),
        asked(IqType::Set, "chunk"),
    ],
    handle,
    ..Module::EMPTY
};

/// Octets that one account may have here in objects that are not whole.
const INCOMPLETE_BYTES: u64 = 4 * OBJECT_BYTES as u64;
/// Octets that are sent or fetched for one account in an hour.
const HOURLY_BYTES: u64 = 512 * 1024 * 1024;

const fn asked(kind: IqType, name: &'static str) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::MLS_ROOM,
        name,
        target: Target::Domain,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match answer(&context, &request).await {
            Ok(answer) => Deliveries::answer(request.stanza.result(Some(&answer.to_element()))),
            Err(refusal) => Deliveries::refuse(&request.stanza, &refusal.to_stanza_error()),
        }
    })
}

async fn answer(context: &Context, request: &Request) -> Result<Answer, Refusal> {
    let Kind::Iq(kind) = request.stanza.kind else {
        return Err(Refusal::Internal);
    };
    let home = &context.home;
    match Asked::from_iq(kind, &request.payload)? {
        // Its hash is all that anybody needs to know, and only who was to have it was told.
        Asked::Get { named, offset } => {
            let found = home.storage.blob_chunk(&named.hash, offset).await;
            let octets = found.map_err(|e| failed(&e))?.unwrap_or_default();
            if named.chunk(offset) != Some(octets.len()) {
                return Err(missing(named));
            }
            Ok(Answer::Chunk {
                named,
                offset,
                octets: octets.into(),
            })
        }
        Asked::Held { named } => {
            let owner = owner(context, request)?;
            let held = home.storage.blob_held(&named.hash, &owner).await;
            let held = held.map_err(|e| failed(&e))?.unwrap_or(Held {
                octets: 0,
                whole: false,
            });
            let next = seal(context, named, &owner, held).await?;
            Ok(Answer::Held { named, next })
        }
        Asked::Put {
            named,
            offset,
            octets,
        } => {
            let owner = owner(context, request)?;
            spend(home, &owner, octets.len() as u64, context.now_ms())?;
            let put = PutChunk {
                hash: named.hash,
                owner: owner.clone(),
                size: named.size,
                offset,
                octets: octets.to_vec(),
                now: context.now_ms(),
                most: INCOMPLETE_BYTES,
            };
            match home.storage.write(put).await.map_err(|e| failed(&e))? {
                Put::Full => Err(Refusal::LimitReached {
                    limit: format!("{INCOMPLETE_BYTES} octets of objects that are not whole"),
                }),
                Put::Held(held) => {
                    let next = seal(context, named, &owner, held).await?;
                    Ok(Answer::Held { named, next })
                }
            }
        }
    }
}

/// The account whose device asks its own domain.
fn owner(context: &Context, request: &Request) -> Result<String, Refusal> {
    let session = context
        .session()
        .filter(|session| session.domain() == request.to.domain());
    let session = session.ok_or_else(|| Refusal::NotAllowed {
        rule: "a device sends large objects to its own domain".to_owned(),
    })?;
    context.device.ok_or(Refusal::NoDevice)?;
    Ok(session.to_bare().as_str().to_owned())
}

/// Looks at what has all its octets: they may be others than their name says.
async fn seal(context: &Context, named: Named, owner: &str, held: Held) -> Result<u64, Refusal> {
    if held.whole || held.octets < named.size {
        return Ok(held.octets);
    }
    let storage = &context.home.storage;
    let octets = storage.blob_of(&named.hash, owner).await;
    let right = payload_hash(&octets.map_err(|e| failed(&e))?) == named.hash;
    let seal = SealBlob {
        hash: named.hash,
        owner: owner.to_owned(),
        right,
        now: context.now_ms(),
    };
    storage.write(seal).await.map_err(|e| failed(&e))?;
    match right {
        true => Ok(named.size),
        false => Err(Refusal::BadRequest {
            why: "what was sent has another hash than the object is named by: send it anew"
                .to_owned(),
        }),
    }
}

fn spend(home: &Home, account: &str, octets: u64, now: u64) -> Result<(), Refusal> {
    home.services
        .rooms
        .spent
        .take(account, octets, HOURLY_BYTES, now)
}

/// Are all of these here?
pub(crate) async fn all_held(home: &Home, names: &[Named]) -> Result<bool, Refusal> {
    for named in names {
        let held = home.storage.blob_held(&named.hash, "").await;
        if !held.map_err(|e| failed(&e))?.is_some_and(|held| held.whole) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts into a payload what it names: from here, or from the domain that has sent it to `own`, for
/// `account`.
pub(crate) async fn put_in(
    home: &Home,
    own: &str,
    sender: &str,
    account: &str,
    payload: &mut Element,
) -> Result<(), Refusal> {
    let names = blob::named(payload)?;
    let total: u64 = names.iter().map(|named| named.size).sum();
    if total > 2 * OBJECT_BYTES as u64 {
        return Err(Refusal::LimitReached {
            limit: format!("{} octets of objects in one stanza", 2 * OBJECT_BYTES),
        });
    }
    let mut objects = Vec::with_capacity(names.len());
    for named in names {
        let held = home.storage.blob(&named.hash).await;
        let octets = match held.map_err(|e| failed(&e))? {
            Some(octets) => octets,
            None if home.hosts.serves(sender) => return Err(missing(named)),
            None => {
                let now = home.now_ms();
                spend(home, account, named.size, now)?;
                let octets = fetch(home, own, sender, named).await?;
                let put = PutBlobs {
                    blobs: vec![(named.hash, octets.clone())],
                    now,
                };
                home.storage.write(put).await.map_err(|e| failed(&e))?;
                octets
            }
        };
        objects.push((named, bytes::Bytes::from(octets)));
    }
    blob::put_in(payload, &mut |wanted| {
        let found = objects.iter().find(|(named, _)| named == wanted);
        found.map(|(_, octets)| octets.clone())
    });
    Ok(())
}

async fn fetch(home: &Home, own: &str, sender: &str, named: Named) -> Result<Vec<u8>, Refusal> {
    let unreachable = || Refusal::UnreachableDomain {
        domain: sender.to_owned(),
    };
    let address = |domain: &str| Jid::parse(domain).map_err(|_| unreachable());
    let (own, to) = (address(own)?, address(sender)?);
    let mut octets = Vec::new();
    while (octets.len() as u64) < named.size {
        let offset = octets.len() as u64;
        let asked = Asked::Get { named, offset }.to_element();
        let answer = requests::ask(home, own.clone(), to.clone(), IqType::Get, &asked).await;
        let answer = answer.map_err(|error| {
            tracing::info!(sender, %error, "an object that was named is not to be had");
            Refusal::from_stanza_error(&error).unwrap_or_else(unreachable)
        })?;
        let chunk = answer.first_child().map(|e| Answer::from_element(&e));
        match chunk {
            Some(Ok(Answer::Chunk {
                named: of,
                offset: at,
                octets: chunk,
            })) if of == named && at == offset => octets.extend_from_slice(&chunk),
            _ => return Err(missing(named)),
        }
    }
    match payload_hash(&octets) == named.hash {
        true => Ok(octets),
        false => Err(missing(named)),
    }
}

/// Puts out of an answer what is too large for it, and keeps it for whom the answer is for.
pub(crate) async fn put_out(home: &Home, payload: &mut Element) -> Result<(), Refusal> {
    let mut new = Vec::new();
    for (named, object) in blob::put_out(payload) {
        if !all_held(home, &[named]).await? {
            new.push((named.hash, object.to_vec()));
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let put = PutBlobs {
        blobs: new,
        now: home.now_ms(),
    };
    home.storage.write(put).await.map_err(|e| failed(&e))
}

fn missing(named: Named) -> Refusal {
    Refusal::BadRequest {
        why: format!(
            "the object of {} octets that is named is not here: send it first",
            named.size
        ),
    }
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(%error, "large objects cannot be read or written");
    Refusal::Internal
}
