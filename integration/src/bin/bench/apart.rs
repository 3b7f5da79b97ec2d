//! Works that start servers of their own, one after another.

use std::error::Error;

use tokio::runtime::Runtime;

use crate::contender::Kind;
use crate::table::{Figure, Table};
use crate::{Bench, STALLED, claims, commits, fanout, federation, large, talked};

impl Bench {
    /// What a make does with servers that are not the one of the other works.
    pub(crate) fn apart(&self, kind: Kind, table: &mut Table, runtime: &Runtime) {
        if kind == Kind::Relay {
            return;
        }
        let wants = |name: &str| self.wants(name);
        if federation::LOADS.iter().any(|(name, _)| wants(name)) {
            self.tell(kind, "server to server", self.federation(kind, table));
        }
        if wants(fanout::NAME) {
            let rate = self.bounded(runtime, fanout::run(kind, self.extent.halved()));
            let told = rate.map(|rate| table.set(fanout::NAME, kind, Figure::Rate(rate)));
            self.tell(kind, fanout::NAME, told);
        }
        if kind == Kind::Comity {
            self.ours(table, runtime);
        }
    }

    fn federation(&self, kind: Kind, table: &mut Table) -> Result<(), Box<dyn Error>> {
        eprintln!("== {}, two servers", kind.name());
        for (name, outcome) in federation::measure(kind, self.extent.halved(), &self.only)? {
            talked(table, name, kind, &outcome);
        }
        Ok(())
    }

    /// What only ours does.
    fn ours(&self, table: &mut Table, runtime: &Runtime) {
        let kind = Kind::Comity;
        if self.wants(claims::NAME) {
            eprintln!("== {}", claims::NAME);
            let claimed = self.bounded(runtime, claims::run(self.extent));
            let told = claimed.map(|outcome| {
                table.set(claims::NAME, kind, Figure::Rate(outcome.per_cpu_second));
                let name = format!("{}, by the clock", claims::NAME);
                table.set(&name, kind, Figure::Rate(outcome.per_second));
                table.judge(claims::NAME, Figure::Rate(claims::WANTED), "");
            });
            self.tell(kind, claims::NAME, told);
        }
        if self.wants(commits::NAME) {
            self.tell(kind, commits::NAME, self.commits(table, runtime));
        }
        if self.wants(large::NAME) {
            eprintln!("== {}", large::NAME);
            let done = large::run(self.extent, table, runtime);
            self.tell(kind, large::NAME, done);
        }
    }

    fn commits(&self, table: &mut Table, runtime: &Runtime) -> Result<(), Box<dyn Error>> {
        eprintln!("== {}", commits::NAME);
        let bare = commits::bare(self.extent)?;
        let rate = self.bounded(runtime, commits::hub(self.extent))?;
        table.set(commits::NAME, Kind::Comity, Figure::Rate(rate));
        table.set(commits::BARE, Kind::Comity, Figure::Rate(bare));
        let wanted = Figure::Rate(bare * commits::WANTED);
        table.judge(commits::NAME, wanted, "60 % of mls-rs alone: ");
        Ok(())
    }

    fn bounded<T>(
        &self,
        runtime: &Runtime,
        work: impl Future<Output = Result<T, Box<dyn Error>>>,
    ) -> Result<T, Box<dyn Error>> {
        // The timer needs the runtime.
        let work = async { tokio::time::timeout(STALLED, work).await };
        runtime
            .block_on(work)
            .map_err(|_| format!("not done within {} s", STALLED.as_secs()))?
    }

    /// What fails is told, and is no number in the table.
    fn tell(&self, kind: Kind, what: &str, told: Result<(), Box<dyn Error>>) {
        if let Err(error) = told {
            eprintln!("{}: {what}: {error}", kind.name());
        }
    }
}
