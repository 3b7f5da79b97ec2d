//! What a person wants of rooms, until it has come about or is refused.

use comity_mls_engine::{Engine, Event, What};
use comity_xmpp::jid::BareJid;

use super::{Desk, Failed, Outcome};

impl Desk {
    pub(super) async fn rooms(&mut self) -> Outcome {
        for room in self.ask(|engine, _| engine.rooms()).await? {
            let name = room.name.as_deref().unwrap_or("(no name)");
            self.print(&format!(
                "{}  {name}  epoch {}, entry {}",
                room.room, room.epoch, room.seq
            ));
        }
        Ok(())
    }

    pub(super) async fn create(&mut self, name: String, accounts: Vec<BareJid>) -> Outcome {
        self.enrolled().await?;
        let create = move |engine: &mut Engine, now| engine.create_room(Some(&name), now);
        let room = self.ask(create).await?;
        self.until_in(&room, |event| match event {
            Event::RoomCreated { room: at } if *at == room => Some(Ok(())),
            _ => None,
        })
        .await?;
        if accounts.is_empty() {
            Ok(())
        } else {
            self.invite(room, accounts).await
        }
    }

    pub(super) async fn open_direct(&mut self, account: BareJid) -> Outcome<BareJid> {
        self.enrolled().await?;
        let open = move |engine: &mut Engine, now| engine.open_direct(&account, now);
        let room = self.ask(open).await?;
        // The other is in, or has let us in: either way there is somebody to talk to.
        self.until_in(&room, |event| match event {
            Event::RoomJoined { room: at, .. } if *at == room => Some(Ok(())),
            Event::Item { room: at, item } if *at == room => {
                matches!(item.what, What::Added(_)).then_some(Ok(()))
            }
            Event::NotInvited { room: at, why, .. } if *at == room => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await?;
        Ok(room)
    }

    pub(super) async fn invite(&mut self, room: BareJid, accounts: Vec<BareJid>) -> Outcome {
        let mut waiting: Vec<BareJid> = accounts.clone();
        let place = room.clone();
        self.ask(move |engine, now| engine.invite(&place, &accounts, now))
            .await?;
        self.until_in(&room, |event| {
            let settled = match event {
                Event::Item { room: at, item } if *at == room => match &item.what {
                    What::Added(change) => Some(change.who.account.clone()),
                    _ => None,
                },
                Event::NotInvited {
                    room: at,
                    account,
                    device: None,
                    ..
                } if *at == room => Some(account.to_string()),
                _ => None,
            };
            waiting.retain(|account| Some(account.as_str()) != settled.as_deref());
            waiting.is_empty().then_some(Ok(()))
        })
        .await
    }

    pub(super) async fn remove(&mut self, room: BareJid, account: BareJid) -> Outcome {
        let (at, name) = (room.clone(), account.to_string());
        self.ask(move |engine, now| engine.remove(&at, &account, None, now))
            .await?;
        let gone = |what: &What| matches!(what, What::Removed(c) if c.who.account == name);
        self.until_line(&room, gone).await
    }

    pub(super) async fn update(&mut self, room: BareJid) -> Outcome {
        let (at, own) = (room.clone(), self.chat.account().to_string());
        self.ask(move |engine, now| engine.update(&at, now)).await?;
        let done = |what: &What| matches!(what, What::Updated(device) if device.account == own);
        self.until_line(&room, done).await
    }

    /// Waits until everybody has said to hold the secret and the commit is in the log.
    pub(super) async fn strengthen(&mut self, room: BareJid, from: Option<BareJid>) -> Outcome {
        let (at, own) = (room.clone(), self.chat.account().to_string());
        self.ask(move |engine, now| match &from {
            None => engine.bring_psk(&at, now),
            Some(from) => engine.heal(&at, from, now),
        })
        .await?;
        let done =
            |what: &What| matches!(what, What::Strengthened(device) if device.account == own);
        self.until_line(&room, done).await
    }

    pub(super) async fn leave(&mut self, room: BareJid) -> Outcome {
        let at = room.clone();
        self.ask(move |engine, now| engine.leave(&at, now)).await?;
        self.until_in(&room, |event| match event {
            Event::RoomLeft { room: at, .. } if *at == room => Some(Ok(())),
            _ => None,
        })
        .await
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
