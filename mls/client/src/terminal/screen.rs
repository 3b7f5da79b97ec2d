//! The conversation on the whole screen: rooms with what is unread, what is said, who is there and
//! who of them is verified. The commands are those of the line mode.

mod draw;
mod found;
mod model;
mod typing;

use std::time::Duration;

use comity_mls_engine::{Engine, Event, Item, RoomState, What};
use comity_mls_wire::policy::Role;
use comity_xmpp::jid::BareJid;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use tokio::sync::mpsc;

use super::identity_words::{trust_mark, trust_words};
use super::roles::word;
use super::{Desk, Failed, Outcome, line, say};
use crate::agent::Update;
use crate::timeline::Effect;
use model::{Line, MAX_LINES, Member, Model, Room, Tone};

/// Keys waiting to be looked at.
const KEYS: usize = 256;
/// Updates taken in before the screen is drawn again.
const MAX_AT_ONCE: usize = 256;
/// How often the thread that reads keys looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(200);
/// Lines of history read at a time.
const PAGE: usize = 500;

/// So often the room on the screen is acknowledged, if something was said there.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_secs(3);
/// Rooms of more accounts are not told what each has read.
const MAX_ACKNOWLEDGED: usize = 16;

const KEYS_HELP: &str = "\
Enter                send, or carry out a command
Tab, Shift-Tab       next room, room before
Page Up, Page Down   scroll
Up, Down             what was typed before
F1 help   F2 members   F3 your devices   F4 alerts
Ctrl-F               look for what is typed, in everything that is kept; Enter goes there
Esc                  close what is over the rooms; back to the newest
Ctrl-C               end

✔ verified here   ~ verified in another room   ✘ keys changed since   · this device
✓ behind your own words: everybody here has read them
";

/// Runs until the person has had enough.
pub(crate) async fn run(desk: &mut Desk) -> Outcome {
    let mut terminal = ratatui::try_init().map_err(Failed::new)?;
    desk.hold_output(true);
    // A terminal that does not know it says nothing.
    let _ = execute!(std::io::stdout(), event::EnableFocusChange);
    let outcome = converse(desk, &mut terminal).await;
    desk.hold_output(false);
    let _ = execute!(std::io::stdout(), event::DisableFocusChange);
    ratatui::restore();
    outcome
}

/// Keys come from a thread of their own: reading them waits.
fn keys() -> mpsc::Receiver<event::Event> {
    let (sender, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(GLANCE) {
                Ok(true) => {
                    let read = event::read().ok();
                    if read.is_none_or(|event| sender.blocking_send(event).is_err()) {
                        return;
                    }
                }
                Ok(false) => {}
                Err(_) => return,
            }
        }
    });
    keys
}

async fn converse(desk: &mut Desk, terminal: &mut ratatui::DefaultTerminal) -> Outcome {
    let mut screen = Screen {
        model: Model::new(desk.chat.account()),
        receipts: desk.receipts,
        typing: typing::Typing::default(),
        focused: None,
    };
    screen.load(desk).await?;
    let mut keys = keys();
    let mut glance = tokio::time::interval(ACKNOWLEDGE_EVERY);
    glance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        terminal
            .draw(|frame| draw::draw(frame, &screen.model))
            .map_err(Failed::new)?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(event) => if !screen.event(desk, event).await? {
                    return Ok(());
                },
                None => return Err(Failed::new("the terminal is gone")),
            },
            _ = glance.tick() => {
                screen.acknowledge(desk).await?;
                screen.show_typing();
            }
            update = desk.updates.recv() => {
                let Some(update) = update else { return Err(Failed::new("the chat has ended")) };
                screen.update(desk, update).await?;
                for _ in 0..MAX_AT_ONCE {
                    let Ok(update) = desk.updates.try_recv() else { break };
                    screen.update(desk, update).await?;
                }
            }
        }
    }
}

struct Screen {
    model: Model,
    /// Whether others may learn what was read.
    receipts: bool,
    typing: typing::Typing,
    /// Whether somebody looks here, where the terminal says so.
    focused: Option<bool>,
}

/// The line of a message; none if it changes one that stands there.
fn said(
    view: &mut Room,
    room: &BareJid,
    message: &comity_mls_engine::Message,
    (tone, text): (Tone, &str),
    seq: u64,
) -> Option<Line> {
    match view.timeline.take(room, message) {
        Effect::Said => {
            let standing = view.timeline.get(message.message_id())?;
            let before = text.strip_suffix(standing.text.as_str()).unwrap_or(text);
            let mut line = Line::message(tone, standing.id, before, &standing.text);
            line.awaits = (tone == Tone::Own).then_some(seq);
            Some(line)
        }
        Effect::Changed(id) => {
            let words = view.timeline.get(id)?.words();
            view.restate(id, &words, (tone == Tone::Own).then_some(seq));
            None
        }
        Effect::NotTheirs { whose, .. } => {
            let words = format!("{text}: it is what {whose} said, and stays as it is");
            Some(Line::new(Tone::Alert, &words))
        }
        _ => Some(Line::new(tone, text)),
    }
}

impl Screen {
    /// The rooms, their history and members, as the store has them.
    async fn load(&mut self, desk: &Desk) -> Outcome {
        self.refresh_rooms(desk).await?;
        let rooms: Vec<BareJid> = self.model.rooms.iter().map(|r| r.address.clone()).collect();
        for room in rooms {
            self.load_room(desk, &room, 0, None).await?;
            self.refresh_members(desk, &room).await?;
        }
        self.seen(desk).await
    }

    /// Lines of a room behind an entry, up to another if one is named.
    async fn load_room(
        &mut self,
        desk: &Desk,
        room: &BareJid,
        mut after: u64,
        until: Option<u64>,
    ) -> Outcome {
        loop {
            let at = room.clone();
            let history = move |engine: &mut Engine, _| engine.history(&at, after, PAGE);
            let page = desk.ask(history).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.seq;
            for item in &page {
                if until.is_some_and(|until| item.seq > until) {
                    return Ok(());
                }
                self.item(room, item);
            }
        }
    }

    /// Which rooms there are, and what is unread of them.
    async fn refresh_rooms(&mut self, desk: &Desk) -> Outcome {
        for info in desk.ask(|engine, _| engine.rooms()).await? {
            let room = self.model.room(&info.room);
            let with = info.direct_with.as_ref().map(BareJid::as_str);
            let title = info.name.as_deref().or(with).unwrap_or(info.room.as_str());
            room.title = super::clean::clean(title);
            room.last = room.last.max(info.read);
            room.direct = info.direct_with.is_some();
            room.standing = match info.state {
                RoomState::Creating => " [being made]",
                RoomState::Awaiting => " [waiting to be let in]",
                RoomState::Leaving => " [leaving]",
                RoomState::Left => " [left]",
                RoomState::Stopped => " [stopped]",
                RoomState::Resyncing => " [coming back]",
                _ => "",
            };
        }
        Ok(())
    }

    async fn refresh_members(&mut self, desk: &Desk, room: &BareJid) -> Outcome {
        let members = desk.trust(room).await?;
        let policy = desk.policy(room).await?;
        self.model.room(room).members = members
            .iter()
            .map(|member| {
                let device = comity_mls_engine::Device::from(&member.member);
                Member {
                    mark: trust_mark(&member.trust),
                    name: super::clean::clean(&say::name(&device)),
                    words: match policy.role(&member.member.account) {
                        Role::Member => trust_words(&member.trust),
                        role => format!("{}, {}", word(role), trust_words(&member.trust)),
                    },
                    changed: matches!(member.trust, comity_mls_engine::Trust::Changed { .. }),
                    account: device.account,
                }
            })
            .collect();
        Ok(())
    }

    /// The room on the screen has been read as far as it goes.
    async fn seen(&mut self, desk: &Desk) -> Outcome {
        let Some(room) = self.model.current_mut() else {
            return Ok(());
        };
        room.unread = 0;
        let (at, last) = (room.address.clone(), room.last);
        desk.ask(move |engine, now| engine.mark_read(&at, last, now))
            .await
    }

    /// A line of a room's history.
    fn item(&mut self, room: &BareJid, item: &Item) {
        let current = self.model.is_current(room);
        let own = self.model.account.clone();
        let (tone, counts) = match &item.what {
            What::Message(message) if message.sender.account == own => (Tone::Own, false),
            What::Message(_) => (Tone::Said, true),
            What::Unreadable(_) => (Tone::Alert, true),
            _ => (Tone::Change, false),
        };
        let text = here(room, &say::item(room, item));
        let view = self.model.room(room);
        let new = item.seq > view.last;
        view.last = view.last.max(item.seq);
        let beyond = view.until.is_some_and(|until| item.seq > until);
        let line = match &item.what {
            What::Message(message) => said(view, room, message, (tone, &text), item.seq),
            _ => Some(Line::new(tone, &text)),
        };
        let Some(line) = line else {
            return;
        };
        if beyond {
            view.unread += usize::from(counts && new);
            return;
        }
        if counts && new && !current {
            view.unread += 1;
        }
        view.push(line);
    }

    /// How far a member's device has come.
    fn acknowledged(&mut self, room: &BareJid, by: &str, seq: u64) {
        let own = self.model.account.clone();
        let view = self.model.room(room);
        let others = view.members.iter().map(|member| member.account.clone());
        let others = others.filter(|account| *account != own).collect();
        view.held(by, seq, &others);
    }

    /// Others may know what the person here does, and they are few.
    fn may_tell(&self, room: &Room) -> bool {
        let accounts: std::collections::BTreeSet<_> =
            room.members.iter().map(|member| &member.account).collect();
        let few = (2..=MAX_ACKNOWLEDGED).contains(&accounts.len());
        self.receipts && room.standing.is_empty() && few
    }

    /// The members of the room on the screen may know that it was read, if they are few.
    async fn acknowledge(&self, desk: &Desk) -> Outcome {
        let Some(room) = self.model.current() else {
            return Ok(());
        };
        if room.back > 0 || !self.may_tell(room) {
            return Ok(());
        }
        let at = room.address.clone();
        // A room that closes meanwhile needs to know nothing.
        let said = desk.ask(move |engine, now| engine.acknowledge_reading(&at, now));
        let _ = said.await;
        Ok(())
    }

    async fn update(&mut self, desk: &mut Desk, update: Update) -> Outcome {
        match update {
            Update::Online(jid) => self.model.connection = format!("online as {jid}"),
            Update::Offline { why, last } => {
                self.model.working.clear();
                self.model.connection = "offline".to_owned();
                self.model.say(Tone::Alert, &format!("offline: {why}"));
                if last {
                    return Err(Failed::new(why));
                }
            }
            Update::Plain { from, body } => {
                let text = format!("{from} (not encrypted): {body}");
                self.model.say(Tone::Said, &text);
            }
            Update::Engine(Event::Acknowledged { room, by, seq }) => {
                self.acknowledged(&room, &by.account, seq);
            }
            Update::Progress(progress) => {
                let there = progress.done >= progress.total;
                self.model.working = if there {
                    String::new()
                } else {
                    progress.words()
                };
            }
            Update::Engine(Event::CatchingUp { room, done, total }) => {
                let title = self.model.room(&room).title.clone();
                let words = format!("catching up with {title}: {done} of {total}");
                self.model.working = if done < total { words } else { String::new() };
            }
            Update::Engine(Event::Ephemeral {
                room,
                by,
                content_type,
                content,
            }) => self.hint(&room, &by, &content_type, &content),
            Update::Engine(Event::Item { room, item }) => {
                self.item(&room, &item);
                self.tell(desk, &room, &item);
                match &item.what {
                    What::Message(message) => self.heard(&room, &message.sender),
                    _ => self.refresh_members(desk, &room).await?,
                }
                if self.model.is_current(&room) {
                    self.seen(desk).await?;
                }
            }
            Update::Engine(event) => self.event_of_engine(desk, &event).await?,
        }
        Ok(())
    }

    async fn event_of_engine(&mut self, desk: &Desk, event: &Event) -> Outcome {
        self.refresh_rooms(desk).await?;
        let room = match event {
            Event::Verified { room, .. }
            | Event::VerificationLost { room, .. }
            | Event::UnverifiedDevice { room, .. }
            | Event::RoomJoined { room, .. }
            | Event::RoomCreated { room }
            | Event::RoomLeft { room, .. }
            | Event::Inviting { room, .. }
            | Event::RoomResyncing { room, .. }
            | Event::RoomResynced { room, .. }
            | Event::RoomStopped { room, .. } => Some(room),
            Event::Warning { room, .. } => room.as_ref(),
            _ => None,
        };
        let Some(words) = say::event(event) else {
            return Ok(());
        };
        let alert = words.starts_with("WARNING")
            || matches!(
                event,
                Event::RoomStopped { .. } | Event::RoomResyncing { .. }
            );
        let tone = if alert { Tone::Alert } else { Tone::Change };
        if let Some(room) = room {
            let line = Line::new(tone, &format!("! {}", here(room, &words)));
            self.model.room(room).push(line);
            self.refresh_members(desk, room).await?;
        }
        match alert {
            true => self.model.alert(&words),
            false => self.model.say(tone, &words),
        }
        Ok(())
    }

    /// A key or something else of the terminal. False: the end.
    async fn event(&mut self, desk: &mut Desk, event: event::Event) -> Outcome<bool> {
        match event {
            event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                let goes_on = self.key(desk, key).await?;
                match key.code {
                    KeyCode::Enter => self.typed_out(),
                    KeyCode::Char(_) | KeyCode::Backspace | KeyCode::Delete => {
                        self.typed(desk).await;
                    }
                    _ => {}
                }
                Ok(goes_on)
            }
            event::Event::FocusGained | event::Event::FocusLost => {
                self.focused = Some(event == event::Event::FocusGained);
                Ok(true)
            }
            event::Event::Paste(text) => {
                text.chars().for_each(|c| self.model.type_char(c));
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    async fn key(&mut self, desk: &mut Desk, key: KeyEvent) -> Outcome<bool> {
        let model = &mut self.model;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'q') if control => return Ok(false),
            KeyCode::Char('f') if control => {
                let text = model.take_input();
                self.find(desk, &text).await?;
            }
            KeyCode::Char('u') if control => drop(model.take_input()),
            KeyCode::Char(c) if !control => model.type_char(c),
            KeyCode::Backspace => model.erase(true),
            KeyCode::Delete => model.erase(false),
            KeyCode::Left => model.cursor = model.cursor.saturating_sub(1),
            KeyCode::Right => model.cursor = (model.cursor + 1).min(model.input.len()),
            KeyCode::Home => model.cursor = 0,
            KeyCode::End => model.cursor = model.input.len(),
            KeyCode::Up if model.pick(true) => {}
            KeyCode::Down if model.pick(false) => {}
            KeyCode::Up => model.recall(true),
            KeyCode::Down => model.recall(false),
            KeyCode::PageUp => model.scroll(true, 10),
            KeyCode::PageDown => model.scroll(false, 10),
            KeyCode::Esc => {
                let over = model.overlay.take().is_some();
                model.notice = None;
                if !over {
                    self.newest(desk).await?;
                }
            }
            KeyCode::Tab | KeyCode::BackTab => {
                model.turn(key.code == KeyCode::Tab);
                self.seen(desk).await?;
            }
            KeyCode::F(1) => model.show("help", help()),
            KeyCode::F(2) => model.show_members = !model.show_members,
            KeyCode::F(3) => self.obey(desk, "/devices").await?,
            KeyCode::F(4) => model.show_alerts(),
            KeyCode::Enter if model.picked().is_some() => self.go_to_picked(desk).await?,
            KeyCode::Enter => {
                let text = model.take_input();
                if text.trim() == "/quit" {
                    return Ok(false);
                }
                model.overlay = None;
                self.obey(desk, text.trim()).await?;
            }
            _ => {}
        }
        Ok(true)
    }

    /// A message or a command, in the room on the screen.
    async fn obey(&mut self, desk: &mut Desk, text: &str) -> Outcome {
        if text == "/help" {
            self.model.show("help", help());
            return Ok(());
        }
        if let Some(wanted) = text.strip_prefix("/search ") {
            return self.find(desk, wanted.trim()).await;
        }
        let mut current = self.model.current().map(|room| room.address.clone());
        self.model.notice = None;
        let outcome = line::obey(desk, &mut current, text).await;
        let said = desk.take_output();
        match said.as_slice() {
            [] => {}
            [one] => self.model.say(Tone::Change, one),
            _ => self.model.show(text, said),
        }
        if let Err(error) = outcome {
            self.model.say(Tone::Alert, &format!("not done: {error}"));
        }
        self.refresh_rooms(desk).await?;
        if let Some(room) = current {
            self.model.select(&room);
            self.refresh_members(desk, &room).await?;
        }
        // Commands of the line mode fill the terminal's own scrollback; here there is a limit.
        debug_assert!(
            self.model
                .rooms
                .iter()
                .all(|room| room.lines.len() <= MAX_LINES)
        );
        Ok(())
    }
}

fn help() -> Vec<String> {
    let keys = KEYS_HELP.lines();
    keys.chain(line::HELP.lines()).map(str::to_owned).collect()
}

/// The same line where the room stands above it, and nobody waits for the second: of
/// `[2026-01-02T03:04:05Z] ROOM …` stays `01-02 03:04 …`.
fn here(room: &BareJid, text: &str) -> String {
    let stamped = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        .and_then(|(stamp, rest)| Some((stamp.get(5..10)?, stamp.get(11..16)?, rest)));
    let (time, rest) = match stamped {
        Some((day, time, rest)) => (format!("{day} {time} "), rest),
        None => (String::new(), text),
    };
    let rest = match rest.strip_prefix(room.as_str()) {
        Some(rest) => rest.trim_start_matches(':').trim_start(),
        None => rest,
    };
    format!("{time}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_its_room_is_short() {
        let room = BareJid::parse("~one@a.example").unwrap();
        for (long, short) in [
            (
                "[2026-01-02T03:04:05Z] ~one@a.example bob@b.example: [1] ~one@a.example",
                "01-02 03:04 bob@b.example: [1] ~one@a.example",
            ),
            ("~one@a.example: bob was not invited", "bob was not invited"),
            (
                "made the room ~one@a.example",
                "made the room ~one@a.example",
            ),
            ("[x] y", "[x] y"),
        ] {
            assert_eq!(here(&room, long), short);
        }
    }
}
