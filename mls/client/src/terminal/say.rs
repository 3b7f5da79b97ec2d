//! What happened, in a line a person understands, or as a JSON object for scripts.

use super::roles::word;
use comity_mls_engine::{
    Because, Change, Device, Event, Item, MessageId, Refused, RoleChange, What,
};
use comity_xmpp::jid::{BareJid, Jid};
use serde_json::{Value, json};

use crate::act::Act;
use crate::content::{self, open_message};
use crate::progress::{Progress, Task};
use crate::typing::ChatState;

/// One line for an event; `None` for what nobody needs to be told.
#[must_use]
pub fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Enrolled { device } => format!("this device is known to your domain as {device}"),
        Event::Online => return None,
        Event::RoomCreated { room } => format!("made the room {room}"),
        Event::AwaitingWelcome { room } => {
            format!("the conversation {room} exists already: waiting to be let in")
        }
        Event::RoomJoined { room, by } => format!("{by} let you into {room}"),
        Event::RoomLeft { room, by: None } => format!("you are no longer in {room}"),
        Event::RoomLeft { room, by: Some(by) } => format!("{by} put you out of {room}"),
        Event::RoomNamed { room, name } => format!("{room} is called “{name}”"),
        Event::Item {
            room,
            item: of_room,
        } => item(room, of_room),
        Event::MemberRevoked { room, device } => format!(
            "{room}: the certificate of {} was revoked: nothing is sent before it is out",
            name(device)
        ),
        Event::Sent { .. } | Event::Acknowledged { .. } => return None,
        Event::Ephemeral { .. } | Event::CatchingUp { .. } => return None,
        Event::Retrying { room, epoch } => {
            format!("{room}: somebody else was first, trying again in epoch {epoch}")
        }
        Event::NotInvited {
            room,
            account,
            device: None,
            why,
        } => {
            format!("{room}: {account} was not invited: {why}")
        }
        Event::NotInvited {
            room,
            account,
            device: Some(device),
            why,
        } => {
            format!("{room}: the device {device} of {account} was not invited: {why}")
        }
        Event::Refused { room, what, why } => {
            let room = room
                .as_ref()
                .map(|room| format!("{room}: "))
                .unwrap_or_default();
            format!("{room}{} refused: {why}", refused(what))
        }
        Event::RoomResyncing { room, seq, why } => {
            format!("{room} cannot be followed from entry {seq} on, and is come back to: {why}")
        }
        Event::RoomResynced { room, missed: 0 } => {
            format!("{room}: this device is back, and missed nothing that was said")
        }
        Event::RoomResynced { room, missed } => {
            format!("{room}: this device is back; {missed} messages meanwhile cannot be read")
        }
        Event::RoomStopped { room, seq, why } => {
            format!("{room} cannot go on here, at entry {seq}: {why}")
        }
        Event::Warning {
            room: Some(room),
            warning,
        } => format!("WARNING, {room}: {warning}"),
        Event::Warning {
            room: None,
            warning,
        } => format!("WARNING: {warning}"),
        other => return super::identity_words::event(other),
    })
}

/// An event as an object for scripts, where it is of interest to them.
#[must_use]
pub fn event_json(event: &Event) -> Option<Value> {
    match event {
        Event::Item { room, item } => Some(item_json(room, item)),
        Event::CatchingUp { room, done, total } => Some(json!({
            "type": "catching-up",
            "room": room.as_str(),
            "done": done,
            "total": total,
        })),
        Event::Ephemeral {
            room,
            by,
            content_type,
            content,
        } => {
            let state = ChatState::read(room, by, content_type, content)?;
            Some(json!({
                "type": "typing",
                "room": room.as_str(),
                "from": by.account,
                "device": by.id().to_string(),
                "state": state.name(),
            }))
        }
        other => super::identity_words::event_json(other),
    }
}

/// Something large on its way, as an object.
#[must_use]
pub fn progress_json(progress: &Progress) -> Value {
    json!({
        "type": "progress",
        "task": match progress.task {
            Task::Receiving => "receiving",
            Task::Sending => "sending",
        },
        "room": progress.room.as_ref().map(BareJid::as_str),
        "done": progress.done,
        "total": progress.total,
    })
}

#[must_use]
pub fn plain_json(from: &Jid, body: &str) -> Value {
    json!({ "type": "plain", "from": from.as_str(), "text": body })
}

fn refused(what: &Refused) -> String {
    match what {
        Refused::Enrolment => "a place in encrypted rooms for this device was".to_owned(),
        Refused::Session => "this device's session was".to_owned(),
        Refused::KeyPackages => "this device's KeyPackages were".to_owned(),
        Refused::Creation => "the room was".to_owned(),
        Refused::Invitation => "the invitation was".to_owned(),
        Refused::Removal => "the removal was".to_owned(),
        Refused::Role => "the change of the role was".to_owned(),
        Refused::Update => "the renewal of your keys was".to_owned(),
        Refused::Departure => "your leave was".to_owned(),
        Refused::Proposals => "the pending proposals were".to_owned(),
        Refused::Message(id) => format!("your message {} was", id.0),
        Refused::Psk => "the use of a pre-shared key was".to_owned(),
        Refused::Report(id) => format!("the report of message {} was", id.0),
        Refused::Lookup => "the lookup was".to_owned(),
        Refused::Resync => "coming back was".to_owned(),
        other => format!("{other:?} was"),
    }
}

/// One line of a room's history.
#[must_use]
pub fn item(room: &BareJid, item: &Item) -> String {
    let time = content::stamp(item.time / 1000);
    let what = match &item.what {
        What::Message(message) => format!("{}: {}", message.sender.account, text(room, message)),
        What::Joined(devices) => format!("* in the room: {}", names(devices)),
        What::Added(change) => format!("* {} was added{}", name(&change.who), by(change)),
        What::Removed(change) => format!("* {} was removed{}", name(&change.who), by(change)),
        What::RemovedByHub(removal) => format!(
            "* {} was removed by the hub, {}",
            name(&removal.who),
            because(&removal.because)
        ),
        What::Barred(barred) => format!(
            "* the hub takes no more commits of {}: members could not apply the one at {}",
            name(&barred.who),
            barred.seq
        ),
        What::Rejoined(rejoined) => format!(
            "* {} came back, {}",
            name(&rejoined.who),
            proven(rejoined.proven)
        ),
        What::Strengthened(device) => {
            format!("* {} put a new secret into the room's keys", name(device))
        }
        What::Role(change) => format!("* {}", role_change(change)),
        What::Updated(device) => format!("* {} renewed its keys", name(device)),
        What::Named(named) => format!("* {} calls the room “{}”", name(&named.by), named.name),
        What::Unreadable(unreadable) => {
            format!(
                "* a message of {} cannot be read: {}",
                unreadable.sender, unreadable.why
            )
        }
        other => format!("* {other:?}"),
    };
    format!("[{time}] {room} {what}")
}

/// The text of a message, or in brackets why there is none.
fn text(room: &BareJid, message: &comity_mls_engine::Message) -> String {
    match open_message(room, message) {
        Ok(content) => act(&Act::of(&content.elements)),
        Err(why) => format!("({why})"),
    }
}

/// What a message does, where what it is about does not stand beside it.
fn act(act: &Act) -> String {
    match act {
        Act::Text { body, reply: None } => body.clone(),
        Act::Text {
            body,
            reply: Some(to),
        } => format!("(answers {}) {body}", short(*to)),
        Act::Correction { of, body } => format!("(corrects {}) {body}", short(*of)),
        Act::Reactions { to, emoji } if emoji.is_empty() => {
            format!("(feels nothing about {} any more)", short(*to))
        }
        Act::Reactions { to, emoji } => {
            let emoji: Vec<&str> = emoji.iter().map(String::as_str).collect();
            format!("(feels {} about {})", emoji.join(" "), short(*to))
        }
        Act::Retraction { of } => format!("(takes {} back)", short(*of)),
        Act::File(file) => crate::timeline::file_words(file),
        Act::Other => "(no text)".to_owned(),
    }
}

/// The beginning of a message's id.
fn short(id: MessageId) -> String {
    id.0.to_string()[..8].to_owned()
}

/// The parts of a message that scripts ask for.
fn kind_json(room: &BareJid, message: &comity_mls_engine::Message) -> Value {
    let Ok(content) = open_message(room, message) else {
        return json!({"kind": "unreadable", "text": null});
    };
    let id = |id: MessageId| id.0.to_string();
    match Act::of(&content.elements) {
        Act::Text { body, reply } => {
            json!({"kind": "text", "text": body, "answers": reply.map(id)})
        }
        Act::Correction { of, body } => {
            json!({"kind": "correction", "text": body, "corrects": id(of)})
        }
        Act::Reactions { to, emoji } => {
            json!({"kind": "reactions", "text": null, "about": id(to), "emoji": emoji})
        }
        Act::Retraction { of } => json!({"kind": "retraction", "text": null, "retracts": id(of)}),
        Act::File(file) => json!({
            "kind": "file",
            "text": null,
            "name": file.name,
            "media_type": file.media_type,
            "size": file.size,
        }),
        Act::Other => json!({"kind": "other", "text": null}),
    }
}

/// The same as an object.
#[must_use]
pub fn item_json(room: &BareJid, item: &Item) -> Value {
    let mut object = json!({
        "room": room.as_str(),
        "seq": item.seq,
        "time": content::stamp(item.time / 1000),
    });
    let detail = match &item.what {
        What::Message(message) => {
            let mut all = json!({
                "type": "message",
                "id": message.message_id().0.to_string(),
                "from": message.sender.account,
                "device": message.sender.id().to_string(),
            });
            if let (Value::Object(all), Value::Object(kind)) = (&mut all, kind_json(room, message))
            {
                all.extend(kind);
            }
            all
        }
        What::Joined(devices) => json!({"type": "joined", "members": devices_json(devices)}),
        What::Added(change) => change_json("added", change),
        What::Removed(change) => change_json("removed", change),
        What::RemovedByHub(removal) => json!({
            "type": "removed",
            "who": device_json(&removal.who),
            "by": null,
            "because": because(&removal.because),
        }),
        What::Barred(barred) => json!({
            "type": "barred",
            "who": device_json(&barred.who),
            "commit": barred.seq,
        }),
        What::Rejoined(rejoined) => json!({
            "type": "rejoined",
            "who": device_json(&rejoined.who),
            "proven": rejoined.proven,
        }),
        What::Strengthened(device) => {
            json!({"type": "strengthened", "who": device_json(device)})
        }
        What::Role(change) => json!({
            "type": "role",
            "account": change.account,
            "was": word(change.was),
            "is": word(change.is),
            "by": change.by.as_ref().map(device_json),
        }),
        What::Updated(device) => json!({"type": "updated", "who": device_json(device)}),
        What::Named(named) => {
            json!({"type": "named", "name": named.name, "by": device_json(&named.by)})
        }
        What::Unreadable(unreadable) => {
            json!({"type": "unreadable", "from": unreadable.sender, "why": unreadable.why})
        }
        other => json!({"type": "other", "text": format!("{other:?}")}),
    };
    if let (Value::Object(object), Value::Object(detail)) = (&mut object, detail) {
        object.extend(detail);
    }
    object
}

/// `juliet@capulet.example is admin now, and was member: by romeo@montague.example (4325994d)`
fn role_change(change: &RoleChange) -> String {
    let by = change.by.as_ref();
    let by = by
        .map(|by| format!(": by {}", name(by)))
        .unwrap_or_default();
    let (was, is) = (word(change.was), word(change.is));
    format!("{} is {is} now, and was {was}{by}", change.account)
}

/// What somebody who came back has shown.
fn proven(proven: bool) -> &'static str {
    match proven {
        true => "and proved that it was here before",
        false => "and did not prove that it was here before",
    }
}

/// Why the hub removed somebody.
fn because(because: &Because) -> String {
    match because {
        Because::Revoked => "because its certificate was revoked".to_owned(),
        Because::Departed => "because its account asked for it".to_owned(),
        Because::Banned(by) => format!("because {by} asked for it"),
        Because::Idle => "because it was idle for too long".to_owned(),
        Because::Unproven => "without proof".to_owned(),
        other => format!("for a reason this version does not know ({other:?})"),
    }
}

fn change_json(kind: &str, change: &Change) -> Value {
    json!({"type": kind, "who": device_json(&change.who), "by": change.by.as_ref().map(device_json)})
}

fn device_json(device: &Device) -> Value {
    json!({"account": device.account, "device": device.id().to_string()})
}

fn devices_json(devices: &[Device]) -> Value {
    devices.iter().map(device_json).collect()
}

/// An account with the beginning of its device's id.
#[must_use]
pub fn name(device: &Device) -> String {
    let id = device.id().to_string();
    format!("{} ({})", device.account, &id[..8])
}

fn names(devices: &[Device]) -> String {
    devices.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn by(change: &Change) -> String {
    change
        .by
        .as_ref()
        .map(|by| format!(" by {}", name(by)))
        .unwrap_or_default()
}
