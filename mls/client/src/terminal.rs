//! `comity-chat`: one command and its outcome, or a conversation line by line.

pub mod args;
pub mod clean;
mod files;
mod find;
pub mod identities;
pub mod identity_words;
pub mod line;
mod messages;
pub mod notify;
pub mod qr;
pub mod roles;
pub mod say;
pub mod screen;

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use args::{Cli, Command, Who};
use comity_mls_engine::{Engine, Event, What};
use comity_xmpp::jid::{BareJid, Jid};
use notify::Notifier;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::agent::{Chat, ChatError, Opening, Update};
use crate::connection::Options;
use crate::stream::Login;
use crate::token::Place;

/// How long a command may wait for its outcome.
const OUTCOME: Duration = Duration::from_secs(120);
/// Lines of history read at a time.
const PAGE: usize = 200;

/// Why a command failed, in words for the person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Failed {
    pub(crate) fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl From<ChatError> for Failed {
    fn from(error: ChatError) -> Self {
        Self(error.to_string())
    }
}

type Outcome<T = ()> = Result<T, Failed>;

/// Carries out what the command line asks for.
pub async fn run(cli: Cli) -> Outcome {
    let opening = opening(&cli.who)?;
    let connection = opening.connection.clone();
    let (chat, updates) = Chat::open(opening).await?;
    let mut desk = Desk {
        chat,
        updates,
        connection,
        quiet: quiet(cli.command.as_ref()),
        json: json(cli.command.as_ref()),
        receipts: !cli.no_receipts,
        notifier: Notifier::new(
            cli.notices.notify,
            cli.notices.notify_by,
            cli.notices.notify_text,
        ),
        held: Mutex::new(None),
    };
    let outcome = match cli.command {
        None if !cli.lines && whole_screen() => screen::run(&mut desk).await,
        None => line::converse(&mut desk).await,
        Some(command) => desk.carry_out(command).await,
    };
    desk.chat.close().await;
    outcome
}

/// Somebody sits there and sees it all.
fn whole_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb
}

/// Output for scripts is not mixed with remarks.
fn quiet(command: Option<&Command>) -> bool {
    matches!(command, Some(Command::Read { .. }))
}

/// What happens meanwhile is told in objects as well.
fn json(command: Option<&Command>) -> bool {
    matches!(
        command,
        Some(
            Command::Invite { json: true, .. }
                | Command::Members { json: true, .. }
                | Command::Devices { json: true, .. }
                | Command::Verify {
                    asked: args::Verification { json: true, .. },
                    ..
                }
        )
    )
}

fn opening(who: &Who) -> Outcome<Opening> {
    let password = match &who.password_file {
        Some(path) => first_line(path)?,
        None => ask(&format!("Password of {}: ", who.account))?,
    };
    let passphrase = match &who.passphrase_file {
        Some(path) => first_line(path)?,
        None => password.clone(),
    };
    let folder = match &who.data {
        Some(folder) => folder.clone(),
        None => default_folder(&who.account)?,
    };
    Ok(Opening {
        connection: Options {
            login: Login {
                account: who.account.clone(),
                password,
                resource: None,
            },
            endpoint: who.endpoint().map_err(Failed::new)?,
            extra_roots: who.extra_roots.clone(),
            proxy: who.proxy.clone(),
        },
        folder,
        passphrase,
        device_name: who.device_name.clone(),
        token: token(who)?,
        keep_history: who
            .keep_days
            .map(|days| std::time::Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
    })
}

fn token(who: &Who) -> Outcome<Option<Place>> {
    let (Some(module), Some(label)) = (&who.token_module, &who.token_label) else {
        return Ok(None);
    };
    let pin = who.token_pin_file.as_deref().map(first_line).transpose()?;
    Ok(Some(Place {
        module: module.clone(),
        label: label.clone(),
        pin,
    }))
}

fn default_folder(account: &BareJid) -> Outcome<PathBuf> {
    let home = std::env::var_os("HOME").ok_or_else(|| Failed::new("say --data, or set HOME"))?;
    Ok(PathBuf::from(home)
        .join(".local/share/comity-chat")
        .join(account.as_str()))
}

fn first_line(path: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failed::new(format!("{}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Asks on the terminal, without showing what is typed.
fn ask(question: &str) -> Outcome<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failed::new(
            "no terminal to ask for the password: give --password-file",
        ));
    }
    rpassword::prompt_password(question).map_err(Failed::new)
}

/// A chat with what comes from it.
pub(crate) struct Desk {
    pub(crate) chat: Chat,
    pub(crate) updates: UnboundedReceiver<Update>,
    /// How files travel.
    connection: Options,
    quiet: bool,
    json: bool,
    /// Others may learn what was read on the whole screen.
    receipts: bool,
    pub(crate) notifier: Notifier,
    /// What is printed while the whole screen is somebody else's.
    held: Mutex<Option<Vec<String>>>,
}

impl Desk {
    async fn carry_out(&mut self, command: Command) -> Outcome {
        match command {
            Command::Enrol => self.enrolled().await,
            Command::Rooms => self.rooms().await,
            Command::Create { name, accounts } => self.create(name, accounts).await,
            Command::Open { account } => self.open_direct(account).await.map(drop),
            Command::Invite { room, accounts, .. } => {
                let room = self.room(&room).await?;
                self.invite(room, accounts).await
            }
            Command::Remove { room, account } => {
                let room = self.room(&room).await?;
                self.remove(room, account).await
            }
            Command::Role {
                room,
                account,
                role,
            } => {
                let room = self.room(&room).await?;
                match account.zip(role) {
                    Some((account, role)) => self.set_role(room, account, role.into()).await,
                    None => self.roles(&room).await,
                }
            }
            Command::Update { room } => {
                let room = self.room(&room).await?;
                self.update(room).await
            }
            Command::Strengthen { room, from } => {
                let room = self.room(&room).await?;
                let from = match from {
                    Some(from) => Some(self.room(&from).await?),
                    None => None,
                };
                self.strengthen(room, from).await
            }
            Command::Leave { room } => {
                let room = self.room(&room).await?;
                self.leave(room).await
            }
            Command::Members { room, json } => {
                let room = self.room(&room).await?;
                self.members(&room, json).await
            }
            Command::Verify { room, asked } => self.verify_command(&room, asked).await,
            Command::Devices { command, json } => self.devices(command, json).await,
            Command::Search { words, room, json } => {
                let room = match room {
                    Some(room) => Some(self.room(&room).await?),
                    None => None,
                };
                self.search(room, &words.join(" "), json).await
            }
            Command::Read { room, follow, json } => self.read(room, follow, json).await,
            command => self.speak(command).await,
        }
    }

    /// What is said, in whatever form.
    async fn speak(&mut self, command: Command) -> Outcome {
        match command {
            Command::Send { room, text } => {
                let room = self.room_or_direct(&room).await?;
                self.send_all(room, text).await
            }
            Command::SendFile { room, path } => {
                let room = self.room_or_direct(&room).await?;
                self.enrolled().await?;
                let id = self.send_file(&room, &path).await?;
                self.sent(vec![id]).await
            }
            Command::Save { room, id, folder } => {
                let room = self.room(&room).await?;
                self.save_file(&room, Some(&id), &folder).await
            }
            Command::React { room, id, emoji } => {
                let room = self.room(&room).await?;
                let id = self.react(&room, Some(&id), &emoji).await?;
                self.sent(vec![id]).await
            }
            Command::Correct { room, id, text } => {
                let room = self.room(&room).await?;
                let id = self.correct(&room, Some(&id), &text).await?;
                self.sent(vec![id]).await
            }
            Command::Reply { room, id, text } => {
                let room = self.room(&room).await?;
                let id = self.answer(&room, Some(&id), &text).await?;
                self.sent(vec![id]).await
            }
            Command::Retract { room, id } => {
                let room = self.room(&room).await?;
                let id = self.retract(&room, Some(&id)).await?;
                self.sent(vec![id]).await
            }
            Command::Report { room, id, why } => {
                let room = self.room(&room).await?;
                self.report_and_wait(room, &id, &why).await
            }
            Command::Plain { to, text, file } => match (text, file) {
                (_, Some(file)) => {
                    self.enrolled().await?;
                    self.send_plain_file(to.into(), &file).await
                }
                (text, None) => self.plain(to.into(), &text.unwrap_or_default()).await,
            },
            // Everything else is no word to anybody, and done where this is called.
            _ => Ok(()),
        }
    }

    /// One line of output, wherever it goes.
    pub(crate) fn print(&self, line: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(lines) => lines.push(line.to_owned()),
            None => print_line(line),
        }
    }

    /// Keeps what is printed, until it is taken, or prints it again.
    pub(crate) fn hold_output(&self, hold: bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = hold.then(Vec::new);
    }

    /// What was printed since it was last taken.
    pub(crate) fn take_output(&self) -> Vec<String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Runs a verb of the engine.
    async fn ask<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Engine, u64) -> Result<T, comity_mls_engine::Error> + Send + 'static,
    ) -> Outcome<T> {
        self.chat.with(verb).await?.map_err(Failed::new)
    }

    /// The next update; shown unless somebody asked for silence.
    async fn next(&mut self) -> Outcome<Update> {
        let Some(update) = self.updates.recv().await else {
            return Err(Failed::new("the chat has ended: see above"));
        };
        let line = match &update {
            _ if self.quiet => None,
            Update::Engine(event) if self.json => say::event_json(event).map(|o| o.to_string()),
            Update::Progress(progress) if self.json => {
                Some(say::progress_json(progress).to_string())
            }
            _ if self.json => None,
            update => shown(update),
        };
        if let Some(line) = line {
            print_line(&line);
        }
        match update {
            Update::Offline { why, last: true } => Err(Failed::new(why)),
            update => Ok(update),
        }
    }

    /// Waits until `done` has an outcome for an update.
    async fn until<T>(&mut self, mut done: impl FnMut(&Event) -> Option<Outcome<T>>) -> Outcome<T> {
        let waiting = async {
            loop {
                if let Update::Engine(event) = self.next().await?
                    && let Some(outcome) = done(&event)
                {
                    return outcome;
                }
            }
        };
        tokio::time::timeout(OUTCOME, waiting)
            .await
            .unwrap_or_else(|_| {
                Err(Failed::new(
                    "no outcome yet; it goes on at the next start of comity-chat",
                ))
            })
    }

    /// Waits until the device may act: enrolled, and in a session.
    async fn enrolled(&mut self) -> Outcome {
        let device = self.ask(|engine, _| engine.device()).await?;
        let (mut known, mut online) = (device.is_some(), false);
        self.until(move |event| {
            match event {
                Event::Online => online = true,
                Event::Enrolled { .. } => known = true,
                Event::Refused {
                    room: None, why, ..
                } => return Some(Err(Failed::new(why))),
                _ => {}
            }
            (known && online).then_some(Ok(()))
        })
        .await
    }

    async fn rooms(&mut self) -> Outcome {
        for room in self.ask(|engine, _| engine.rooms()).await? {
            let name = room.name.as_deref().unwrap_or("(no name)");
            self.print(&format!(
                "{}  {name}  epoch {}, entry {}",
                room.room, room.epoch, room.seq
            ));
        }
        Ok(())
    }

    async fn create(&mut self, name: String, accounts: Vec<BareJid>) -> Outcome {
        self.enrolled().await?;
        let create = move |engine: &mut Engine, now| engine.create_room(Some(&name), now);
        let room = self.ask(create).await?;
        let wanted = room.clone();
        self.until(move |event| match event {
            Event::RoomCreated { room } if *room == wanted => Some(Ok(())),
            Event::Refused {
                room: Some(room),
                why,
                ..
            } if *room == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await?;
        if accounts.is_empty() {
            Ok(())
        } else {
            self.invite(room, accounts).await
        }
    }

    async fn open_direct(&mut self, account: BareJid) -> Outcome<BareJid> {
        self.enrolled().await?;
        let open = move |engine: &mut Engine, now| engine.open_direct(&account, now);
        let room = self.ask(open).await?;
        let wanted = room.clone();
        // The other is in, or has let us in: either way there is somebody to talk to.
        self.until(move |event| match event {
            Event::RoomJoined { room, .. } if *room == wanted => Some(Ok(())),
            Event::Item { room, item } if *room == wanted => {
                matches!(item.what, What::Added(_)).then_some(Ok(()))
            }
            Event::NotInvited { room, why, .. } if *room == wanted => Some(Err(Failed::new(why))),
            Event::Refused {
                room: Some(room),
                why,
                ..
            } if *room == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await?;
        Ok(room)
    }

    async fn invite(&mut self, room: BareJid, accounts: Vec<BareJid>) -> Outcome {
        let mut waiting: Vec<BareJid> = accounts.clone();
        let (wanted, place) = (room.clone(), room);
        self.ask(move |engine, now| engine.invite(&place, &accounts, now))
            .await?;
        self.until(move |event| {
            let settled = match event {
                Event::Item { room, item } if *room == wanted => match &item.what {
                    What::Added(change) => Some(change.who.account.clone()),
                    _ => None,
                },
                Event::NotInvited {
                    room,
                    account,
                    device: None,
                    ..
                } if *room == wanted => Some(account.to_string()),
                Event::Refused {
                    room: Some(room),
                    why,
                    ..
                } if *room == wanted => {
                    return Some(Err(Failed::new(why)));
                }
                _ => None,
            };
            waiting.retain(|account| Some(account.as_str()) != settled.as_deref());
            waiting.is_empty().then_some(Ok(()))
        })
        .await
    }

    async fn remove(&mut self, room: BareJid, account: BareJid) -> Outcome {
        let (wanted, name) = (room.clone(), account.to_string());
        self.ask(move |engine, now| engine.remove(&room, &account, None, now))
            .await?;
        self.until(move |event| match event {
            Event::Item { room, item } if *room == wanted => match &item.what {
                What::Removed(change) if change.who.account == name => Some(Ok(())),
                _ => None,
            },
            Event::Refused {
                room: Some(room),
                why,
                ..
            } if *room == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    async fn update(&mut self, room: BareJid) -> Outcome {
        let (wanted, own) = (room.clone(), self.chat.account().to_string());
        self.ask(move |engine, now| engine.update(&room, now))
            .await?;
        self.until(move |event| match event {
            Event::Item { room, item } if *room == wanted => match &item.what {
                What::Updated(device) if device.account == own => Some(Ok(())),
                _ => None,
            },
            Event::Refused {
                room: Some(room),
                why,
                ..
            } if *room == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    /// Waits until everybody has said to hold the secret and the commit is in the log.
    async fn strengthen(&mut self, room: BareJid, from: Option<BareJid>) -> Outcome {
        let (wanted, own) = (room.clone(), self.chat.account().to_string());
        self.ask(move |engine, now| match &from {
            None => engine.bring_psk(&room, now),
            Some(from) => engine.heal(&room, from, now),
        })
        .await?;
        self.until(move |event| match event {
            Event::Item { room, item } if *room == wanted => match &item.what {
                What::Strengthened(device) if device.account == own => Some(Ok(())),
                _ => None,
            },
            Event::Refused {
                room: Some(room),
                why,
                ..
            } if *room == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    async fn leave(&mut self, room: BareJid) -> Outcome {
        let wanted = room.clone();
        self.ask(move |engine, now| engine.leave(&room, now))
            .await?;
        self.until(move |event| match event {
            Event::RoomLeft { room, .. } if *room == wanted => Some(Ok(())),
            Event::Refused {
                room: Some(room),
                why,
                ..
            } if *room == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    /// Queues one message; it is kept until it has its place in the room's log.
    pub(crate) async fn post(
        &self,
        room: &BareJid,
        text: &str,
    ) -> Outcome<comity_mls_engine::MessageId> {
        Ok(self.chat.say(room, text).await?)
    }

    async fn send_all(&mut self, room: BareJid, text: Option<String>) -> Outcome {
        let mut waiting = Vec::new();
        match text {
            Some(text) => waiting.push(self.post(&room, &text).await?),
            None => {
                for line in std::io::stdin().lock().lines() {
                    let line = line.map_err(Failed::new)?;
                    if !line.is_empty() {
                        waiting.push(self.post(&room, &line).await?);
                    }
                }
            }
        }
        self.sent(waiting).await
    }

    /// Waits until these have their places in the log.
    async fn sent(&mut self, mut waiting: Vec<comity_mls_engine::MessageId>) -> Outcome {
        self.until(move |event| match event {
            Event::Sent { id, .. } => {
                waiting.retain(|message| message != id);
                waiting.is_empty().then_some(Ok(()))
            }
            Event::Refused {
                what: comity_mls_engine::Refused::Message(id),
                why,
                ..
            } if waiting.contains(id) => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    async fn plain(&mut self, to: Jid, text: &str) -> Outcome {
        self.chat.send_plain(to, text).await?;
        self.enrolled().await
    }

    async fn read(&mut self, room: Option<String>, follow: bool, json: bool) -> Outcome {
        let room = match room {
            Some(room) => Some(self.room(&room).await?),
            None => None,
        };
        let rooms = match &room {
            Some(room) => vec![room.clone()],
            None => {
                let all = self.ask(|engine, _| engine.rooms()).await?;
                all.into_iter().map(|room| room.room).collect()
            }
        };
        for room in &rooms {
            self.read_history(room, json).await?;
        }
        if follow {
            self.follow(room.as_ref(), json).await
        } else {
            Ok(())
        }
    }

    /// Shows what comes, until the program is ended.
    async fn follow(&mut self, room: Option<&BareJid>, json: bool) -> Outcome {
        loop {
            match self.next().await? {
                Update::Engine(Event::Item { room: at, item })
                    if room.is_none_or(|room| *room == at) =>
                {
                    print_item(&at, &item, json);
                }
                Update::Engine(event) => {
                    if matches!(event, Event::Item { .. }) {
                        continue;
                    }
                    match say::event_json(&event) {
                        Some(object) if json => print_line(&object.to_string()),
                        _ => say::event(&event)
                            .iter()
                            .for_each(|remark| remark_on(remark)),
                    }
                }
                Update::Progress(progress) if json => {
                    print_line(&say::progress_json(&progress).to_string());
                }
                _ => {}
            }
        }
    }

    async fn read_history(&self, room: &BareJid, json: bool) -> Outcome {
        let mut after = 0;
        loop {
            let place = room.clone();
            let page = self
                .ask(move |engine, _| engine.history(&place, after, PAGE))
                .await?;
            for item in &page {
                print_item(room, item, json);
            }
            match page.last() {
                Some(item) => after = item.seq,
                None => return Ok(()),
            }
        }
    }

    /// A room by its address or its name.
    pub(crate) async fn room(&self, text: &str) -> Outcome<BareJid> {
        let rooms = self.ask(|engine, _| engine.rooms()).await?;
        let found: Vec<_> = rooms
            .into_iter()
            .filter(|room| {
                let with = room.direct_with.as_ref().map(BareJid::as_str);
                [Some(room.room.as_str()), room.name.as_deref(), with].contains(&Some(text))
            })
            .map(|room| room.room)
            .collect();
        match found.as_slice() {
            [room] => Ok(room.clone()),
            [] => Err(Failed::new(format!("this device is in no room {text:?}"))),
            _ => Err(Failed::new(format!(
                "several rooms are called {text:?}: give the address"
            ))),
        }
    }

    /// Like `room`; an account means the direct conversation with it, which is opened if need be.
    pub(crate) async fn room_or_direct(&mut self, text: &str) -> Outcome<BareJid> {
        match (self.room(text).await, BareJid::parse(text)) {
            (Ok(room), _) => Ok(room),
            (Err(_), Ok(account))
                if account.local().is_some_and(|local| !local.starts_with('~')) =>
            {
                self.open_direct(account).await
            }
            (Err(error), _) => Err(error),
        }
    }
}

fn print_item(room: &BareJid, item: &comity_mls_engine::Item, json: bool) {
    if json {
        print_line(&say::item_json(room, item).to_string());
    } else {
        print_line(&say::item(room, item));
    }
}

/// What an update says, if anything.
pub(crate) fn shown(update: &Update) -> Option<String> {
    match update {
        Update::Online(jid) => Some(format!("online as {jid}")),
        Update::Offline { why, .. } => Some(format!("offline: {why}")),
        Update::Engine(event) => say::event(event),
        Update::Progress(_) => None,
        Update::Plain { from, body } => Some(format!("{from} (not encrypted): {body}")),
    }
}

/// Beside the output.
fn remark_on(remark: &str) {
    eprintln!("{}", clean::clean(remark));
}

/// One line, at once: somebody may be reading from a pipe.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    // A pipe nobody reads any more is no reason to stop delivering.
    let _ = writeln!(out, "{}", clean::clean(line)).and_then(|()| out.flush());
}
