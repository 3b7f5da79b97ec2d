//! What is printed: a row for each work, a column for each contender, and what was aimed at.

use std::fmt;
use std::time::Duration;

use crate::contender::Kind;

/// More is better, or less is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    /// Of work, for each second of the server's CPU.
    Rate(f64),
    Time(Duration),
    /// Octets.
    Memory(u64),
    /// Of one core.
    Share(f64),
}

impl Figure {
    fn amount(self) -> f64 {
        match self {
            Self::Rate(rate) => rate,
            Self::Time(time) => time.as_secs_f64(),
            Self::Memory(octets) => octets as f64,
            Self::Share(share) => share,
        }
    }

    /// How many times better than another.
    fn against(self, other: Self) -> f64 {
        match self {
            Self::Rate(_) => self.amount() / other.amount(),
            _ => other.amount() / self.amount(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "{rate:.0}/s"),
            Self::Time(time) => write!(f, "{:.2} ms", time.as_secs_f64() * 1e3),
            Self::Memory(octets) => write!(f, "{:.1} KiB", *octets as f64 / 1024.0),
            Self::Share(share) => write!(f, "{:.0} %", share * 100.0),
        }
    }
}

/// What is aimed at: so many times ejabberd's, and such a part of the relay's.
#[derive(Clone, Copy)]
struct Target {
    work: &'static str,
    ejabberd: Option<f64>,
    relay: Option<f64>,
}

const TARGETS: &[Target] = &[
    Target {
        work: "chat, 200 pairs, 1 in flight",
        ejabberd: Some(10.0),
        relay: Some(0.5),
    },
    Target {
        work: "chat, 50 pairs, 8 in flight",
        ejabberd: Some(20.0),
        relay: Some(0.3),
    },
    Target {
        work: "chat, 200 pairs, 1 in flight, archived",
        ejabberd: Some(25.0),
        relay: None,
    },
    Target {
        work: "chat, 50 pairs, 8 in flight, archived",
        ejabberd: Some(25.0),
        relay: None,
    },
    Target {
        work: "server to server, 50 pairs, 1 in flight",
        ejabberd: Some(10.0),
        relay: None,
    },
    Target {
        work: "server to server, 50 pairs, 8 in flight",
        ejabberd: Some(10.0),
        relay: None,
    },
    Target {
        work: "delivery to 500 devices of one room",
        ejabberd: Some(8.0),
        relay: None,
    },
    Target {
        work: "server CPU of a login",
        ejabberd: Some(10.0),
        relay: None,
    },
    Target {
        work: "offline messages stored",
        ejabberd: Some(10.0),
        relay: None,
    },
];

pub(crate) struct Table {
    kinds: Vec<Kind>,
    /// In the order in which they were first measured.
    rows: Vec<(String, Vec<(Kind, Figure)>)>,
    /// Of works, what was aimed at beside the others.
    verdicts: Vec<(String, String)>,
}

impl Table {
    pub(crate) fn new(kinds: &[Kind]) -> Self {
        Self {
            kinds: kinds.to_vec(),
            rows: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    pub(crate) fn set(&mut self, work: &str, kind: Kind, figure: Figure) {
        match self.rows.iter_mut().find(|(name, _)| name == work) {
            Some((_, figures)) => figures.push((kind, figure)),
            None => self.rows.push((work.to_owned(), vec![(kind, figure)])),
        }
    }
}

impl Table {
    /// Ours of a work against a figure that it has to reach, which is named by what it is.
    pub(crate) fn judge(&mut self, work: &str, wanted: Figure, what: &str) {
        let row = self.rows.iter().find(|(name, _)| name == work);
        let Some(got) = row.and_then(|(_, figures)| of(figures, Kind::Comity)) else {
            return;
        };
        let ratio = got.against(wanted);
        let word = if ratio >= 1.0 { "met" } else { "missed" };
        let verdict = format!("{what}{wanted}: {ratio:.2} ×, {word}");
        self.verdicts.push((work.to_owned(), verdict));
    }
}

fn of(figures: &[(Kind, Figure)], kind: Kind) -> Option<Figure> {
    let found = figures.iter().find(|(of, _)| *of == kind);
    found.map(|(_, figure)| *figure)
}

/// Ours against another's, where both have been measured.
fn ratio(figures: &[(Kind, Figure)], other: Kind) -> Option<f64> {
    Some(of(figures, Kind::Comity)?.against(of(figures, other)?))
}

fn verdict(work: &str, figures: &[(Kind, Figure)]) -> String {
    let Some(target) = TARGETS.iter().find(|target| target.work == work) else {
        return String::new();
    };
    let judge = |wanted: Option<f64>, other: Kind| {
        let (wanted, got) = (wanted?, ratio(figures, other)?);
        let word = if got >= wanted { "met" } else { "missed" };
        Some(format!("{wanted} × {}: {word}", other.name()))
    };
    let verdicts = [
        judge(target.ejabberd, Kind::Ejabberd),
        judge(target.relay, Kind::Relay),
    ];
    verdicts
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        writeln!(f, "| work | {} | ratio | target |", names.join(" | "))?;
        writeln!(f, "|---{}|---|---|", "|---:".repeat(names.len()))?;
        for (work, figures) in &self.rows {
            write!(f, "| {work} |")?;
            for kind in &self.kinds {
                match of(figures, *kind) {
                    Some(figure) => write!(f, " {figure} |")?,
                    None => write!(f, " |")?,
                }
            }
            let others = [Kind::Prosody, Kind::Ejabberd, Kind::Relay];
            let ratios: Vec<_> = others
                .into_iter()
                .filter_map(|other| {
                    Some(format!("{:.2} × {}", ratio(figures, other)?, other.name()))
                })
                .collect();
            let own = self.verdicts.iter().filter(|(name, _)| name == work);
            let verdicts: Vec<_> = std::iter::once(verdict(work, figures))
                .chain(own.map(|(_, verdict)| verdict.clone()))
                .filter(|verdict| !verdict.is_empty())
                .collect();
            writeln!(f, " {} | {} |", ratios.join(", "), verdicts.join("; "))?;
        }
        Ok(())
    }
}
