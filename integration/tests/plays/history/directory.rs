//! The directories of KeyPackages, and a book of what they hand out.

use std::collections::HashMap;

use comity_mls_engine::Notice;
use comity_mls_service::key_packages::Served;
use comity_mls_wire::keys::{self, Answer, ClaimResult, Request};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;

use super::fleet::{Fleet, Input};
use super::serve::cut;

/// What was handed out: by package, whether as last resort, and how often.
#[derive(Default)]
pub(super) struct Book(HashMap<Vec<u8>, (bool, usize)>);

impl Book {
    fn enter(&mut self, package: &[u8], last_resort: bool) {
        let entry = self.0.entry(package.to_vec());
        let (last, times) = entry.or_insert((last_resort, 0));
        *times += 1;
        assert_eq!(*last, last_resort, "a package is one or the other");
    }

    /// No KeyPackage was served twice; last resorts, which may be, are counted apart. Gives how many
    /// ordinary ones were served, and how many last resorts, and how often.
    pub(super) fn check(&self) -> (usize, usize) {
        let ordinary: Vec<_> = self.0.values().filter(|(last, _)| !last).collect();
        let twice = ordinary.iter().filter(|(_, times)| *times > 1).count();
        assert_eq!(twice, 0, "ordinary KeyPackages were served more than once");
        let resorts = self.0.values().filter(|(last, _)| *last);
        (ordinary.len(), resorts.map(|(_, times)| times).sum())
    }
}

impl Fleet {
    /// `None`: the server was killed before it could answer.
    pub(super) async fn keys(
        &mut self,
        client: usize,
        account: &BareJid,
        request: Request,
    ) -> Option<Result<Answer, Refusal>> {
        let domain = account.domain().to_owned();
        let killed = self.dies(2);
        let polls = self.random(12);
        let requester = self.clients[client].account.clone();
        let directory = self.servers[&domain].directory.clone();
        let now = self.now;
        let asked = async {
            match request {
                Request::Claim(claim) => {
                    let served = directory.claim(&requester, account, &claim, now).await?;
                    Ok(Done::Claimed(served))
                }
                Request::Publish {
                    device,
                    replace,
                    packages,
                    signature,
                } => {
                    let publisher = directory.publisher(&requester, device).await?;
                    let examined = publisher.examine(&packages, &signature, now / 1_000)?;
                    let counts = directory.publish(examined, replace, now).await?;
                    Ok(Done::Other(Answer::Published(counts)))
                }
                Request::Count => {
                    let counts = directory.count(&requester, now).await?;
                    Ok(Done::Other(Answer::Counts(counts)))
                }
                Request::Delete { .. } => panic!("no engine deletes packages"),
            }
        };
        let done = match killed {
            true => cut(asked, polls).await,
            false => Some(asked.await),
        };
        if let Some(Ok(Done::Claimed(served))) = &done {
            self.serve_packages(account, served);
        }
        if killed {
            self.kill(&domain).await;
            return None;
        }
        done.map(|done: Result<Done, Refusal>| {
            done.map(|done| match done {
                Done::Claimed(served) => Answer::Claimed(served.claimed),
                Done::Other(answer) => answer,
            })
        })
    }

    /// Enters what was handed out, and tells its owners what they are told.
    fn serve_packages(&mut self, account: &BareJid, served: &Served) {
        for claimed in &served.claimed {
            if let ClaimResult::Package {
                package,
                last_resort,
            } = &claimed.result
            {
                self.book.enter(package, *last_resort);
            }
        }
        for (device, notice) in &served.notices {
            let whose = (0..self.clients.len()).find(|client| {
                self.member(*client)
                    .is_some_and(|own| own.account == *account && own.device == *device)
            });
            if let Some(client) = whose
                && self.clients[client].sent.is_some()
            {
                let notice: keys::Notice = notice.clone();
                let notice = Box::new(Notice::Keys(notice));
                self.clients[client].inbox.push_back(Input::Notice(notice));
            }
        }
    }
}

enum Done {
    Claimed(Served),
    Other(Answer),
}
