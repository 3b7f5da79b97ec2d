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

/// Than whom we want to be better.
#[derive(Clone, Copy)]
enum Than {
    Ejabberd,
    /// Whichever of the peers does better.
    Peers,
    Relay,
}

impl Than {
    fn name(self) -> &'static str {
        match self {
            Self::Ejabberd => "ejabberd",
            Self::Peers => "the better peer",
            Self::Relay => "bare TLS relay",
        }
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Ejabberd => &[Kind::Ejabberd],
            Self::Peers => &[Kind::Prosody, Kind::Ejabberd],
            Self::Relay => &[Kind::Relay],
        }
    }
}

/// What is aimed at, by work: how many times better than whom.
const TARGETS: &[(&str, &[(f64, Than)])] = &[
    (
        "chat, 200 pairs, 1 in flight",
        &[(10.0, Than::Ejabberd), (0.5, Than::Relay)],
    ),
    (
        "chat, 50 pairs, 8 in flight",
        &[(20.0, Than::Ejabberd), (0.3, Than::Relay)],
    ),
    (
        "chat, 200 pairs, 1 in flight, archived",
        &[(25.0, Than::Peers)],
    ),
    (
        "chat, 50 pairs, 8 in flight, archived",
        &[(25.0, Than::Peers)],
    ),
    (
        "server to server, 50 pairs, 1 in flight",
        &[(10.0, Than::Ejabberd)],
    ),
    (
        "server to server, 50 pairs, 8 in flight",
        &[(10.0, Than::Ejabberd)],
    ),
    (
        "delivery to 500 devices of one room",
        &[(8.0, Than::Ejabberd)],
    ),
    ("server CPU of a login", &[(10.0, Than::Ejabberd)]),
    ("offline messages stored", &[(10.0, Than::Peers)]),
];

/// What is aimed at where it is not a matter of so many times the same: the first is to be better
/// than the second of whom is named.
const BEATEN: &[(&str, &str, Than)] = &[
    (
        "chat, 50 pairs, 1,000/s offered, p99",
        "chat, 50 pairs, 1,000/s offered, p50",
        Than::Ejabberd,
    ),
    (
        "chat, 50 pairs, 1,000/s offered, archived, p99",
        "chat, 50 pairs, 1,000/s offered, archived, p99",
        Than::Peers,
    ),
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
    /// What is aimed at across rows, once all are measured.
    pub(crate) fn compare(&mut self) {
        for (work, other, than) in BEATEN {
            let row = self.rows.iter().find(|(name, _)| name == other);
            let best = row.and_then(|(_, figures)| best(figures, *than));
            let quantile = other.rsplit(' ').next().unwrap_or_default();
            if let Some(best) = best {
                self.judge(work, best, &format!("{quantile} of {}, ", than.name()));
            }
        }
    }

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

/// The best that any of them does, of those measured.
fn best(figures: &[(Kind, Figure)], than: Than) -> Option<Figure> {
    let theirs = than.kinds().iter().filter_map(|kind| of(figures, *kind));
    theirs.reduce(|one, other| if other.against(one) > 1.0 { other } else { one })
}

/// Ours against another's, where both have been measured.
fn ratio(figures: &[(Kind, Figure)], other: Kind) -> Option<f64> {
    Some(of(figures, Kind::Comity)?.against(of(figures, other)?))
}

fn verdict(work: &str, figures: &[(Kind, Figure)]) -> String {
    let Some((_, targets)) = TARGETS.iter().find(|(name, _)| *name == work) else {
        return String::new();
    };
    let judge = |(wanted, than): &(f64, Than)| {
        let got = of(figures, Kind::Comity)?.against(best(figures, *than)?);
        let word = if got >= *wanted { "met" } else { "missed" };
        Some(format!("{wanted} × {}: {word}", than.name()))
    };
    let verdicts: Vec<_> = targets.iter().filter_map(judge).collect();
    verdicts.join("; ")
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
