//! `comity room …`, answered by the running server.

use clap::Subcommand;
use comity_conf::Conf;

use super::json::{self, Json};
use super::table::{Table, age, octets};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Report, Request, Room, RoomDetail};
use crate::home::{Clock, SystemClock, millis};
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the rooms that this server orders.
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Show who is in a room, and how far other domains have come.
    Show {
        room: String,
        #[command(flatten)]
        json: Json,
    },
    /// Let a room take nothing in any more. Its members can still fetch what it holds.
    Close {
        room: String,
        /// What its members are told.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Open a closed room again.
    Open { room: String },
    /// Show the messages that members have reported, each found to be what its sender said.
    Reports {
        #[command(flatten)]
        json: Json,
    },
    /// Discard a report that has been seen to.
    DiscardReport {
        /// Its number
        id: u64,
    },
}

/// # Errors
/// The server's refusal, or why there was no answer.
pub async fn room(conf: &Conf, command: Command) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let now = millis(SystemClock.wall());
    let request = match command {
        Command::List { json } => {
            let all = list(&mut client).await?;
            match json.json {
                true => json::print(&all),
                false if all.is_empty() => println!("no rooms are ordered here"),
                false => print!("{}", table(&all, now)),
            }
            return Ok(());
        }
        Command::Show { room, json } => {
            return match client.ask(&Request::RoomShow { room }).await? {
                Answer::Room { room } if json.json => {
                    json::print(&room);
                    Ok(())
                }
                Answer::Room { room } => {
                    print!("{}", describe(&room, now));
                    Ok(())
                }
                other => Err(Error::NotUnderstood(format!("{other:?}"))),
            };
        }
        Command::Close { room, reason } => Request::RoomClose { room, reason },
        Command::Open { room } => Request::RoomOpen { room },
        Command::DiscardReport { id } => Request::RoomReportDiscard { id },
        Command::Reports { json } => {
            let all = reports(&mut client).await?;
            match json.json {
                true => json::print(&all),
                false if all.is_empty() => println!("nothing was reported"),
                false => all.iter().for_each(|one| print!("{}", report(one, now))),
            }
            return Ok(());
        }
    };
    match client.ask(&request).await? {
        Answer::Done { what } => println!("{what}"),
        other => return Err(Error::NotUnderstood(format!("{other:?}"))),
    }
    Ok(())
}

async fn list(client: &mut Client) -> Result<Vec<Room>, Error> {
    let mut all: Vec<Room> = Vec::new();
    loop {
        let after = all
            .last()
            .map_or_else(String::new, |last| last.room.clone());
        match client.ask(&Request::RoomList { after }).await? {
            Answer::Rooms { rooms, more } => {
                all.extend(rooms);
                if !more {
                    return Ok(all);
                }
            }
            other => return Err(Error::NotUnderstood(format!("{other:?}"))),
        }
    }
}

async fn reports(client: &mut Client) -> Result<Vec<Report>, Error> {
    let mut all: Vec<Report> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.id);
        match client.ask(&Request::RoomReports { after }).await? {
            Answer::Reports { reports, more } => {
                all.extend(reports);
                if !more {
                    return Ok(all);
                }
            }
            other => return Err(Error::NotUnderstood(format!("{other:?}"))),
        }
    }
}

/// What people wrote is shown as they wrote it, without what would move the cursor.
fn report(report: &Report, now: u64) -> String {
    let said = report.text.as_deref().unwrap_or(&report.content);
    let lines = [
        format!(
            "{}  {} in {}, entry {}, {} ago",
            report.id,
            report.sender,
            report.room,
            report.seq,
            age(report.sent, now)
        ),
        format!("  {}: {said}", report.content_type),
        format!(
            "  reported by {}, {} ago: {}",
            report.reporter,
            age(report.time, now),
            report.why
        ),
    ];
    let clean = |line: &String| -> String {
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        line.chars().map(shown).collect::<String>() + "\n"
    };
    lines.iter().map(clean).collect()
}

fn table(rooms: &[Room], now: u64) -> String {
    let heading = [
        "ROOM", "ACCOUNTS", "DEVICES", "DOMAINS", "EPOCH", "ENTRIES", "LAST", "",
    ];
    let mut table = Table::new(&heading);
    for room in rooms {
        let note = match (&room.closed, &room.direct) {
            (Some(_), _) => "closed",
            (None, Some(_)) => "direct",
            (None, None) => "",
        };
        table.row([
            room.room.clone(),
            room.accounts.to_string(),
            room.devices.to_string(),
            room.domains.to_string(),
            room.epoch.to_string(),
            room.seq.to_string(),
            age(room.last, now),
            note.to_owned(),
        ]);
    }
    table.to_string()
}

fn describe(detail: &RoomDetail, now: u64) -> String {
    let room = &detail.room;
    let mut lines = vec![room.room.clone()];
    if let Some(reason) = &room.closed {
        let reason = match reason.is_empty() {
            true => "no reason given",
            false => reason,
        };
        lines.push(format!("  closed: {reason}"));
    }
    if let Some(direct) = &room.direct {
        lines.push(format!("  direct, of {}", direct.join(" and ")));
    }
    lines.push(format!("  since {}", time::day(room.created / 1000)));
    lines.push(format!(
        "  entries: {}, the last {} ago; epoch {}; proposals that wait: {}",
        room.seq,
        age(room.last, now),
        room.epoch,
        detail.pending
    ));
    lines.push(format!(
        "  held: {} entries, {}",
        detail.held,
        octets(detail.held_octets)
    ));
    for domain in &detail.member_domains {
        let behind = room.seq.saturating_sub(domain.acknowledged);
        lines.push(match domain.until {
            Some(until) => format!("  {}: has left with entry {until}", domain.domain),
            None if behind == 0 => format!("  {}: has everything", domain.domain),
            None => format!("  {}: lacks the last {behind} entries", domain.domain),
        });
    }
    let members = detail.members.iter();
    lines.extend(members.map(|one| format!("  {}  {}", one.device, one.account)));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::{RoomDomain, RoomMember};

    #[test]
    fn a_room_is_described_with_who_is_behind() {
        let mut detail = RoomDetail {
            room: Room {
                room: "~r@a.example".to_owned(),
                epoch: 3,
                seq: 9,
                last: 0,
                created: 86_400_000,
                accounts: 1,
                devices: 1,
                domains: 1,
                direct: None,
                closed: None,
            },
            members: vec![RoomMember {
                account: "alice@a.example".to_owned(),
                device: "id".to_owned(),
            }],
            member_domains: vec![RoomDomain {
                domain: "b.example".to_owned(),
                acknowledged: 7,
                until: None,
            }],
            pending: 0,
            held: 2,
            held_octets: 3_000_000,
        };
        let text = describe(&detail, 60_000);
        for line in [
            "  since 1970-01-02",
            "  entries: 9, the last 60 s ago; epoch 3; proposals that wait: 0",
            "  held: 2 entries, 2.8 MiB",
            "  b.example: lacks the last 2 entries",
            "  id  alice@a.example",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} in {text}");
        }
        assert!(!text.contains("closed"));
        detail.room.closed = Some(String::new());
        assert!(describe(&detail, 0).contains("  closed: no reason given\n"));
    }
}
