//! A member shows the operator a message of somebody else.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Member, MessageReport};
use comity_storage::rooms::{ABUSE_REPORTS, AbuseReportKept, KeepAbuseReport};

use super::{Asked, Hub, Pool, Reply, told};
use crate::error::{Refused, internal};
use crate::room::abuse;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl<P: Pool> Hub<P> {
    pub(super) async fn report_message(
        &self,
        asked: Asked,
        sender: &Member,
        report: MessageReport,
    ) -> Result<Reply, Refused> {
        let storage = &self.shared.storage;
        let row = storage.room_entry(asked.room.as_str(), report.seq).await;
        let row = row.map_err(|error| internal(error, "reading an entry"))?;
        let judged = abuse::judge(&asked.room, row, &sender.account, report, asked.now);
        let report = match judged {
            Ok(report) => report,
            // Whoever has the key has read the message, and may show it although they were put out
            // since. Of others, members alone learn what is wrong.
            Err(refusal) => {
                self.for_member(&asked.room, sender).await?;
                return Err(refusal.into());
            }
        };
        let (seq, by) = (report.seq, report.sender.clone());
        let limits = &self.shared.limits;
        let change = KeepAbuseReport {
            report,
            since: asked.now.saturating_sub(DAY_MS),
            most_of_reporter: limits.reports_per_day,
            most_of_room: limits.reports_of_room,
        };
        let kept = storage.write(change).await;
        match kept.map_err(|error| internal(error, "writing a report"))? {
            AbuseReportKept::Kept => {
                tracing::warn!(
                    room = %asked.room, seq, account = %by, reporter = %sender.account,
                    "a message is reported: `comity room reports` shows it"
                );
                Ok(told(Answer::Reported))
            }
            AbuseReportKept::Again => Ok(told(Answer::Reported)),
            AbuseReportKept::TooManyOfReporter => {
                limit(limits.reports_per_day, "reports of an account in a day")
            }
            AbuseReportKept::TooManyOfRoom => {
                limit(limits.reports_of_room, "reports of a room that are kept")
            }
            AbuseReportKept::Full => limit(ABUSE_REPORTS, "reports that are kept"),
        }
    }
}

fn limit(most: usize, what: &str) -> Result<Reply, Refused> {
    Err(Refusal::LimitReached {
        limit: format!("{most} {what}"),
    }
    .into())
}
