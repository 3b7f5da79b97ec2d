//! The conversation line by line: what is typed goes to the current room, `/help` tells the rest.

use std::io::IsTerminal as _;
use std::path::Path;

use clap::ValueEnum as _;
use comity_mls_engine::{Engine, Event, What};
use comity_xmpp::jid::BareJid;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::files::downloads;
use super::identities::find;
use super::identity_words::device_line;
use super::notify::News;
use super::roles::Wanted;
use super::{Desk, Failed, Outcome, print_line, shown};
use crate::agent::Update;

pub(super) const HELP: &str = "\
/rooms               the rooms this device is in
/room ROOM           go to a room, by address or name
/talk ACCOUNT        go to the direct conversation with somebody
/create NAME         make a room
/invite ACCOUNT…     let people in, with all their devices
/remove ACCOUNT      put somebody out, with all their devices (/kick)
/roles               who may do what here
/role ACCOUNT ROLE   make somebody member, admin or owner
/members             who is here, by device, and who is verified
/verify              the code to compare with everybody here
/verify ACCOUNT      the codes to compare with somebody's devices
/verify ACCOUNT CODE their side shows this code: mark them
/verify CODE         everybody shows this code: mark them all
/devices             your own devices
/devices code ID     the code to compare with one of them
/devices confirm ID CODE   it shows this code: it is yours, let it into your rooms
/devices revoke ID   end it
/reply TEXT          answer what was said last
/correct TEXT        say something else in place of your last message
/react EMOJI…        react to what was said last; without emoji, not any more
/retract             take your last message back
/file PATH           send a file, sealed for the room
/save [ID] [FOLDER]  fetch the file that was sent last, or as ID, and open it
/search WORDS        what was said, in everything that is kept
/report WHY          show what was said last to the operator of the room's server
/update              renew your keys
/strengthen          put a new secret into the room's keys
/strengthen ROOM     one that comes from the keys of another room you all share
/leave               leave the room
/plain JID TEXT      an ordinary message, not encrypted end to end
/plain-file JID PATH a file likewise, which servers can read
/quit                end";

/// Reads lines until the input ends, and shows what comes meanwhile.
pub(crate) async fn converse(desk: &mut Desk) -> Outcome {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut current: Option<BareJid> = None;
    print_line("type /help for what can be done");
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line.map_err(Failed::new)? else { return Ok(()) };
                match obey(desk, &mut current, line.trim()).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) => print_line(&format!("not done: {error}")),
                }
            }
            update = desk.updates.recv() => {
                let Some(update) = update else { return Err(Failed::new("the chat has ended")) };
                if let Some(line) = shown(&update) {
                    print_line(&line);
                }
                if let Update::Engine(Event::Item { room, item }) = &update {
                    told(desk, room, item).await?;
                }
                match update {
                    // The first room that appears is the one most likely meant.
                    Update::Engine(Event::RoomCreated { room } | Event::RoomJoined { room, .. }) => {
                        current.get_or_insert(room);
                    }
                    Update::Offline { why, last: true } => return Err(Failed::new(why)),
                    _ => {}
                }
            }
        }
    }
}

/// Somebody who looks elsewhere hears of it, where lines go to a terminal.
async fn told(desk: &mut Desk, room: &BareJid, item: &comity_mls_engine::Item) -> Outcome {
    let What::Message(message) = &item.what else {
        return Ok(());
    };
    let own = desk.chat.account().clone();
    if message.sender.account == own.as_str() || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    let (at, rooms) = (room.clone(), desk.ask(|engine, _| engine.rooms()).await?);
    let direct = rooms
        .iter()
        .any(|info| info.room == at && info.direct_with.is_some());
    let title = desk.titles().await?.remove(room).unwrap_or_default();
    if let Some(text) = crate::content::text_of(room, message) {
        let news = News {
            room: &title,
            from: &message.sender.account,
            text: &text,
            personal: direct,
        };
        desk.notifier.tell(&own, news);
    }
    Ok(())
}

/// One line. False: the person has had enough.
pub(super) async fn obey(
    desk: &mut Desk,
    current: &mut Option<BareJid>,
    line: &str,
) -> Outcome<bool> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let here = || {
        current
            .clone()
            .ok_or_else(|| Failed::new("no room yet: /room, /talk or /create"))
    };
    match word {
        "" => {}
        "/help" => HELP.lines().for_each(|line| desk.print(line)),
        "/quit" => return Ok(false),
        "/rooms" => desk.rooms().await?,
        "/room" => *current = Some(desk.room(rest).await?),
        "/talk" => {
            let with = account(rest)?;
            let open = move |engine: &mut Engine, now| engine.open_direct(&with, now);
            *current = Some(desk.ask(open).await?);
        }
        "/create" => {
            let name = rest.to_owned();
            let create = move |engine: &mut Engine, now| engine.create_room(Some(&name), now);
            *current = Some(desk.ask(create).await?);
        }
        "/invite" => {
            let accounts: Vec<_> = rest
                .split_whitespace()
                .map(account)
                .collect::<Result<_, _>>()?;
            let room = here()?;
            desk.ask(move |engine, now| engine.invite(&room, &accounts, now))
                .await?;
        }
        "/remove" | "/kick" => {
            let (room, account) = (here()?, account(rest)?);
            desk.ask(move |engine, now| engine.remove(&room, &account, None, now))
                .await?;
        }
        "/members" => desk.members(&here()?, false).await?,
        "/roles" | "/role" if rest.is_empty() => desk.roles(&here()?).await?,
        "/role" => role(desk, &here()?, rest).await?,
        "/verify" => verify(desk, &here()?, rest).await?,
        "/devices" => devices(desk, rest).await?,
        "/reply" | "/correct" | "/react" | "/retract" => mend(desk, &here()?, word, rest).await?,
        "/search" => desk.search(None, rest, false).await?,
        "/update" | "/strengthen" | "/report" => renew(desk, &here()?, word, rest).await?,
        "/leave" => {
            let room = here()?;
            desk.ask(move |engine, now| engine.leave(&room, now))
                .await?;
            *current = None;
        }
        "/file" | "/save" | "/plain-file" => files(desk, current.as_ref(), word, rest).await?,
        "/plain" => {
            let (to, text) = rest
                .split_once(' ')
                .ok_or_else(|| Failed::new("/plain JID TEXT"))?;
            desk.chat
                .send_plain(account(to)?.into(), text.trim())
                .await?;
        }
        _ if word.starts_with('/') => {
            return Err(Failed::new(format!("{word} is unknown, see /help")));
        }
        _ => {
            desk.post(&here()?, line).await?;
        }
    }
    Ok(true)
}

/// Commands about a room's keys, and to its operator.
async fn renew(desk: &Desk, room: &BareJid, word: &str, rest: &str) -> Outcome {
    if word == "/report" {
        return desk.report(room, None, rest).await.map(drop);
    }
    let from = match (word, rest) {
        ("/update", _) | (_, "") => None,
        (_, from) => Some(desk.room(from).await?),
    };
    let (room, update) = (room.clone(), word == "/update");
    desk.ask(move |engine, now| match &from {
        _ if update => engine.update(&room, now),
        None => engine.bring_psk(&room, now),
        Some(from) => engine.heal(&room, from, now),
    })
    .await
}

/// Commands about files.
async fn files(desk: &Desk, room: Option<&BareJid>, word: &str, rest: &str) -> Outcome {
    let here = || room.ok_or_else(|| Failed::new("no room yet: /room, /talk or /create"));
    match word {
        "/file" if rest.is_empty() => Err(Failed::new("/file PATH")),
        "/file" => desk.send_file(here()?, Path::new(rest)).await.map(drop),
        "/plain-file" => {
            let (to, path) = rest
                .split_once(' ')
                .ok_or_else(|| Failed::new("/plain-file JID PATH"))?;
            let to = account(to)?.into();
            desk.send_plain_file(to, Path::new(path.trim())).await
        }
        _ => {
            let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
            let is_id =
                first.len() >= 4 && first.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
            let (id, folder) = match is_id {
                true => (Some(first), second.trim()),
                false => (None, rest),
            };
            let folder = match folder {
                "" => downloads(),
                folder => folder.into(),
            };
            desk.save_file(here()?, id, &folder).await
        }
    }
}

/// Commands about what was said.
async fn mend(desk: &Desk, room: &BareJid, word: &str, rest: &str) -> Outcome {
    match word {
        "/reply" => desk.answer(room, None, rest).await,
        "/correct" => desk.correct(room, None, rest).await,
        "/retract" => desk.retract(room, None).await,
        _ => {
            let emoji: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            desk.react(room, None, &emoji).await
        }
    }
    .map(drop)
}

/// `/role ACCOUNT ROLE`
async fn role(desk: &Desk, room: &BareJid, rest: &str) -> Outcome {
    let usage = || Failed::new("/role ACCOUNT member|admin|owner");
    let (who, role) = rest.split_once(char::is_whitespace).ok_or_else(usage)?;
    let role = Wanted::from_str(role.trim(), true).map_err(|_| usage())?;
    desk.wish_role(room, &account(who)?, role.into()).await
}

/// `/verify [ACCOUNT] [CODE]`
async fn verify(desk: &mut Desk, room: &BareJid, rest: &str) -> Outcome {
    let (first, code) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match BareJid::parse(first) {
        Ok(account) if account.local().is_some() && !first.starts_with("xmpp:") => {
            if code.trim().is_empty() {
                desk.show_codes(room, Some(account), None, false).await
            } else {
                desk.check_code(room, Some(account), None, code).await
            }
        }
        _ if rest.is_empty() => desk.show_codes(room, None, None, false).await,
        _ => desk.check_code(room, None, None, rest).await,
    }
}

/// `/devices [code|confirm|revoke] ID [CODE]`
async fn devices(desk: &mut Desk, rest: &str) -> Outcome {
    let known = desk.ask(|engine, _| engine.own_devices()).await?;
    let (deed, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (device, code) = rest
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((rest.trim(), ""));
    match deed {
        "" => {
            desk.ask(Engine::refresh_devices).await?;
            known
                .iter()
                .for_each(|device| desk.print(&device_line(device)));
            Ok(())
        }
        "code" => desk.device_code(find(&known, device)?, false).await,
        "confirm" if code.trim().is_empty() => desk.device_code(find(&known, device)?, false).await,
        "confirm" => {
            let (id, code) = (find(&known, device)?, code.to_owned());
            desk.ask(move |engine, now| engine.confirm_device(id, &code, now))
                .await
        }
        "revoke" => {
            let id = find(&known, device)?;
            desk.ask(move |engine, now| engine.revoke_device(id, now))
                .await
        }
        _ => Err(Failed::new("/devices [code|confirm|revoke] ID [CODE]")),
    }
}

fn account(text: &str) -> Outcome<BareJid> {
    BareJid::parse(text).map_err(Failed::new)
}
