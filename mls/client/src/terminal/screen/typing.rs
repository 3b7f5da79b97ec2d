//! Who types in the room on the screen, and that the person here does: told to those who are there now,
//! where others may also learn what was read.

use std::time::Instant;

use comity_mls_engine::Device;
use comity_xmpp::jid::BareJid;

use super::Screen;
use crate::terminal::Desk;
use crate::terminal::clean::clean;
use crate::typing::{AGAIN, ChatState, Typists};

#[derive(Default)]
pub(super) struct Typing {
    others: Typists,
    /// The room that was last told that the person types, and when.
    told: Option<(BareJid, Instant)>,
}

impl Screen {
    /// Something was typed or erased.
    pub(super) async fn typed(&mut self, desk: &Desk) {
        let Some(room) = self.model.current().filter(|room| self.may_tell(room)) else {
            return;
        };
        // Commands are nobody's business.
        let composes = self.model.input.first().is_some_and(|first| *first != '/');
        let now = Instant::now();
        let told = self.typing.told.as_ref();
        let here = told.filter(|(at, _)| *at == room.address);
        let state = match (composes, here) {
            (true, Some((_, when))) if now < *when + AGAIN => return,
            (true, _) => ChatState::Composing,
            (false, Some(_)) => ChatState::Paused,
            (false, None) => return,
        };
        let address = room.address.clone();
        // What cannot be said now need not be said.
        let _ = desk.chat.typing(&address, state).await;
        self.typing.told = composes.then_some((address, now));
    }

    /// What was typed has been sent: that says enough.
    pub(super) fn typed_out(&mut self) {
        self.typing.told = None;
    }

    /// What a member's device says outside the log.
    pub(super) fn hint(&mut self, room: &BareJid, by: &Device, content_type: &str, content: &[u8]) {
        if let Some(state) = ChatState::read(room, by, content_type, content)
            && by.account != self.model.account
        {
            self.typing.others.heard(room, by, state, Instant::now());
            self.show_typing();
        }
    }

    /// Who has said something types it no longer.
    pub(super) fn heard(&mut self, room: &BareJid, by: &Device) {
        if self.typing.others.said(room, by) {
            self.show_typing();
        }
    }

    /// Also now and then: who says nothing for a while has stopped.
    pub(super) fn show_typing(&mut self) {
        let now = Instant::now();
        for room in &mut self.model.rooms {
            let here = self.typing.others.here(&room.address, now);
            room.typing = match here.as_slice() {
                [] => String::new(),
                [one] => format!("{} is typing", clean(one)),
                [one, other] => format!("{} and {} are typing", clean(one), clean(other)),
                many => format!("{} people are typing", many.len()),
            };
        }
    }
}
