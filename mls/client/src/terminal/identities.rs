//! Whom one talks to: codes compared, members with their marks, one's own devices.

use std::time::Duration;

use comity_mls_engine::{Device, Engine, Event, MemberTrust, OwnDevice, Trust, VerificationCode};
use comity_xmpp::jid::BareJid;
use serde_json::json;
use uuid::Uuid;

use super::args::{DeviceCommand, Verification};
use super::identity_words::{
    code_lines, device_line, state_word, trust_mark, trust_word, trust_words,
};
use super::roles::word;
use super::{Desk, Failed, Outcome, say};
use crate::content;

/// Nothing new for so long: the device has caught up with its rooms.
const SILENCE: Duration = Duration::from_secs(1);
/// Catching up is waited for no longer than this.
const CATCH_UP: Duration = Duration::from_secs(20);

impl Desk {
    /// Waits until the rooms are as they are now: codes of a past epoch match nobody's.
    async fn caught_up(&mut self) -> Outcome {
        self.enrolled().await?;
        let silence = async {
            while let Ok(update) = tokio::time::timeout(SILENCE, self.next()).await {
                update?;
            }
            Ok(())
        };
        tokio::time::timeout(CATCH_UP, silence)
            .await
            .unwrap_or(Ok(()))
    }

    pub(crate) async fn verify_command(&mut self, room: &str, asked: Verification) -> Outcome {
        self.caught_up().await?;
        let room = self.room(room).await?;
        let Verification {
            account,
            device,
            code,
            json,
        } = asked;
        match code {
            Some(code) => self.check_code(&room, account, device, &code).await,
            None => self.show_codes(&room, account, device, json).await,
        }
    }

    /// The devices of somebody in a room; those whose id begins so, if something is given.
    async fn devices_of(
        &self,
        room: &BareJid,
        account: &BareJid,
        beginning: Option<&str>,
    ) -> Outcome<Vec<Device>> {
        let found: Vec<Device> = self
            .trust(room)
            .await?
            .iter()
            .filter(|member| member.member.account == *account && member.trust != Trust::Own)
            .map(|member| Device::from(&member.member))
            .filter(|device| {
                beginning.is_none_or(|start| device.id().to_string().starts_with(start))
            })
            .collect();
        if found.is_empty() {
            return Err(Failed::new(format!("{account} has no such device there")));
        }
        Ok(found)
    }

    async fn code(&self, room: &BareJid, with: Option<Device>) -> Outcome<VerificationCode> {
        let room = room.clone();
        self.ask(move |engine, _| engine.verification_code(&room, with.as_ref()))
            .await
    }

    pub(crate) async fn show_codes(
        &self,
        room: &BareJid,
        account: Option<BareJid>,
        device: Option<String>,
        json: bool,
    ) -> Outcome {
        let Some(account) = account else {
            let code = self.code(room, None).await?;
            self.print_code(&code, "everybody in this room", json);
            return Ok(());
        };
        for device in self.devices_of(room, &account, device.as_deref()).await? {
            let code = self.code(room, Some(device.clone())).await?;
            self.print_code(&code, &say::name(&device), json);
        }
        Ok(())
    }

    /// The code the other side shows: it marks the device it belongs to.
    pub(crate) async fn check_code(
        &mut self,
        room: &BareJid,
        account: Option<BareJid>,
        device: Option<String>,
        code: &str,
    ) -> Outcome {
        let whose = match account {
            None => vec![None],
            Some(account) => {
                let devices = self.devices_of(room, &account, device.as_deref()).await?;
                devices.into_iter().map(Some).collect()
            }
        };
        let mut last = None;
        for with in whose {
            let (place, text) = (room.clone(), code.to_owned());
            let mark = move |engine: &mut Engine, now| {
                engine.mark_verified(&place, with.as_ref(), &text, now)
            };
            match self.ask(mark).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Failed::new("nobody is there to compare with")))
    }

    pub(crate) async fn trust(&self, room: &BareJid) -> Outcome<Vec<MemberTrust>> {
        let room = room.clone();
        self.ask(move |engine, _| engine.member_trust(&room)).await
    }

    pub(crate) async fn members(&self, room: &BareJid, json: bool) -> Outcome {
        let policy = self.policy(room).await?;
        for member in self.trust(room).await? {
            let role = word(policy.role(&member.member.account));
            let device = Device::from(&member.member);
            if json {
                let object = json!({
                    "type": "member",
                    "room": room.as_str(),
                    "account": device.account,
                    "device": device.id().to_string(),
                    "role": role,
                    "trust": trust_word(&member.trust),
                });
                self.print(&object.to_string());
            } else {
                let (mark, words) = (trust_mark(&member.trust), trust_words(&member.trust));
                self.print(&format!("{mark} {}  {role}, {words}", say::name(&device)));
            }
        }
        Ok(())
    }

    /// The account's devices, asked for anew where there is a session.
    pub(crate) async fn own_devices(&mut self) -> Outcome<Vec<OwnDevice>> {
        self.ask(Engine::refresh_devices).await?;
        self.until(|event| matches!(event, Event::OwnDevices).then_some(Ok(())))
            .await?;
        self.ask(|engine, _| engine.own_devices()).await
    }

    pub(crate) async fn devices(&mut self, command: Option<DeviceCommand>, json: bool) -> Outcome {
        self.enrolled().await?;
        let devices = self.own_devices().await?;
        match command {
            None => {
                for device in &devices {
                    self.print_device(device, json);
                }
                Ok(())
            }
            Some(DeviceCommand::Code { device }) => {
                let id = find(&devices, &device)?;
                self.device_code(id, json).await
            }
            Some(DeviceCommand::Confirm { device, code }) => {
                let id = find(&devices, &device)?;
                match code {
                    Some(code) => self.confirm(id, code).await,
                    None => self.device_code(id, json).await,
                }
            }
            Some(DeviceCommand::Revoke { device }) => {
                let id = find(&devices, &device)?;
                self.revoke(id).await
            }
        }
    }

    pub(crate) async fn device_code(&self, id: Uuid, json: bool) -> Outcome {
        let code = self.ask(move |engine, _| engine.device_code(id)).await?;
        self.print_code(&code, &format!("your device {id}"), json);
        Ok(())
    }

    pub(crate) async fn confirm(&mut self, id: Uuid, code: String) -> Outcome {
        self.ask(move |engine, now| engine.confirm_device(id, &code, now))
            .await?;
        // It comes to the rooms meanwhile; what does not come to pass now does at the next start.
        self.caught_up_after(|event| matches!(event, Event::DeviceConfirmed { .. }))
            .await
    }

    pub(crate) async fn revoke(&mut self, id: Uuid) -> Outcome {
        self.ask(move |engine, now| engine.revoke_device(id, now))
            .await?;
        self.until(move |event| match event {
            Event::OwnDevice {
                id: ended,
                revoked: true,
                ..
            } if *ended == id => Some(Ok(())),
            Event::Refused {
                room: None, why, ..
            } => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    /// Waits for an event, then until nothing follows it any more.
    async fn caught_up_after(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Outcome {
        self.until(move |event| wanted(event).then_some(Ok(())))
            .await?;
        let silence = async {
            while let Ok(update) = tokio::time::timeout(SILENCE, self.next()).await {
                update?;
            }
            Ok(())
        };
        tokio::time::timeout(CATCH_UP, silence)
            .await
            .unwrap_or(Ok(()))
    }
}

impl Desk {
    fn print_code(&self, code: &VerificationCode, with: &str, json: bool) {
        if json {
            let object = json!({
                "type": "code",
                "room": code.room.as_ref().map(BareJid::as_str),
                "account": code.with.as_ref().map(|device| device.account.clone()),
                "device": code.with.as_ref().map(|device| device.id().to_string()),
                "epoch": code.epoch,
                "code": code.digits,
                "uri": code.uri,
            });
            return self.print(&object.to_string());
        }
        for line in code_lines(code, with) {
            self.print(&line);
        }
    }

    fn print_device(&self, device: &OwnDevice, json: bool) {
        let registered = content::stamp(device.registered);
        if json {
            let object = json!({
                "type": "device",
                "device": device.id.to_string(),
                "name": device.name,
                "registered": registered,
                "state": state_word(device.state),
            });
            return self.print(&object.to_string());
        }
        self.print(&device_line(device));
    }
}

/// A device by the beginning of its id or by its name.
pub(crate) fn find(devices: &[OwnDevice], text: &str) -> Outcome<Uuid> {
    let fits = |device: &&OwnDevice| device.id.to_string().starts_with(text) || device.name == text;
    let found: Vec<Uuid> = devices.iter().filter(fits).map(|d| d.id).collect();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Failed::new(format!("your account has no device {text:?}"))),
        _ => Err(Failed::new(format!(
            "several devices are meant by {text:?}: give more of the id"
        ))),
    }
}
