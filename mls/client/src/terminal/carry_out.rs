//! Which part of the program does what the command line asks for.

use super::args::Command;
use super::{Desk, Outcome};

impl Desk {
    pub(super) async fn carry_out(&mut self, command: Command) -> Outcome {
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
    pub(super) async fn speak(&mut self, command: Command) -> Outcome {
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
                (_, Some(file)) => self.plain_file(to.into(), &file).await,
                (text, None) => self.plain(to.into(), &text.unwrap_or_default()).await,
            },
            // Everything else is no word to anybody, and done where this is called.
            _ => Ok(()),
        }
    }
}
