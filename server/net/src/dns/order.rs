//! Pure: in which order the targets of a domain are tried (RFC 2782, XEP-0368).

use super::Srv;

/// How many targets of one domain are tried; a zone may list any number.
pub const TARGETS: usize = 16;

/// How TLS begins on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With `<starttls/>` (RFC 6120 §5).
    StartTls,
    /// With the first byte (XEP-0368).
    Direct,
}

/// Where a service of a domain may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub start: Start,
}

/// Puts the records of `_xmpp…` (`plain`) and `_xmpps…` (`direct`) into one order: XEP-0368 §3
/// treats both sets as one, priorities and weights being comparable between them. `None`: the
/// domain says, by the target `.`, that it has no such service. `fallback` stands where there is
/// no record at all (RFC 6120 §3.2.2): the domain itself at the service's port.
///
/// `draw` gives a number from 0 to its argument, both included.
pub fn targets(
    plain: Vec<Srv>,
    direct: Vec<Srv>,
    fallback: Target,
    draw: &mut dyn FnMut(u32) -> u32,
) -> Option<Vec<Target>> {
    // XEP-0368 §3: the target "." on the second kind of records alone says only that there is no
    // direct TLS.
    if plain.is_empty() && direct.iter().all(|srv| srv.target == ".") {
        return Some(vec![fallback]);
    }
    let plain = plain.into_iter().map(|srv| (srv, Start::StartTls));
    let direct = direct.into_iter().map(|srv| (srv, Start::Direct));
    let mut waiting: Vec<_> = plain
        .chain(direct)
        // RFC 2782: a target of "." means that the service is not available at this domain.
        .filter(|(srv, _)| srv.target != ".")
        .collect();
    if waiting.is_empty() {
        return None;
    }
    // RFC 2782: within a priority, those of weight 0 come first in the running sum.
    waiting.sort_by_key(|(srv, _)| (srv.priority, srv.weight != 0));
    let mut ordered = Vec::with_capacity(waiting.len().min(TARGETS));
    while !waiting.is_empty() && ordered.len() < TARGETS {
        let (srv, start) = waiting.remove(select(&waiting, draw));
        ordered.push(Target {
            host: srv.target,
            port: srv.port,
            start,
        });
    }
    Some(ordered)
}

/// The place, among those of the lowest priority, that RFC 2782's weighted draw falls on.
fn select(waiting: &[(Srv, Start)], draw: &mut dyn FnMut(u32) -> u32) -> usize {
    let priority = waiting[0].0.priority;
    let group = waiting
        .iter()
        .take_while(|(srv, _)| srv.priority == priority);
    let total = group.clone().map(|(srv, _)| u32::from(srv.weight)).sum();
    let drawn = draw(total);
    let mut sum = 0;
    for (place, (srv, _)) in group.enumerate() {
        sum += u32::from(srv.weight);
        if sum >= drawn {
            return place;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 5269,
            target: target.to_owned(),
        }
    }

    fn hosts(
        plain: Vec<Srv>,
        direct: Vec<Srv>,
        draw: impl FnMut(u32) -> u32,
    ) -> Option<Vec<String>> {
        let mut draw = draw;
        let fallback = Target {
            host: "example.net".to_owned(),
            port: 5269,
            start: Start::StartTls,
        };
        let targets = targets(plain, direct, fallback, &mut draw)?;
        let shown = targets.into_iter().map(|t| match t.start {
            Start::StartTls => t.host,
            Start::Direct => format!("tls:{}", t.host),
        });
        Some(shown.collect())
    }

    #[test]
    fn priority_goes_before_weight_and_both_sets_are_one() {
        let plain = vec![srv(20, 100, "c"), srv(10, 0, "a")];
        let direct = vec![srv(15, 5, "b")];
        assert_eq!(
            hosts(plain, direct, |most| most).unwrap(),
            ["a", "tls:b", "c"]
        );
    }

    #[test]
    fn weight_decides_by_the_running_sum() {
        let set = || vec![srv(1, 10, "ten"), srv(1, 0, "zero"), srv(1, 30, "thirty")];
        assert_eq!(hosts(set(), vec![], |_| 0).unwrap()[0], "zero");
        assert_eq!(hosts(set(), vec![], |_| 1).unwrap()[0], "ten");
        assert_eq!(hosts(set(), vec![], |_| 10).unwrap()[0], "ten");
        assert_eq!(hosts(set(), vec![], |_| 11).unwrap()[0], "thirty");
        assert_eq!(hosts(set(), vec![], |most| most).unwrap()[0], "thirty");
    }

    #[test]
    fn no_record_means_the_domain_itself() {
        assert_eq!(hosts(vec![], vec![], |_| 0).unwrap(), ["example.net"]);
    }

    #[test]
    fn a_dot_means_no_service() {
        assert_eq!(hosts(vec![srv(0, 0, ".")], vec![], |_| 0), None);
        let direct = vec![srv(0, 0, "b")];
        assert_eq!(
            hosts(vec![srv(0, 0, ".")], direct, |_| 0).unwrap(),
            ["tls:b"]
        );
    }

    #[test]
    fn a_dot_for_direct_tls_alone_leaves_the_domain_itself() {
        let direct = vec![srv(0, 0, ".")];
        assert_eq!(hosts(vec![], direct, |_| 0).unwrap(), ["example.net"]);
        let both = hosts(vec![srv(0, 0, "a")], vec![srv(0, 0, ".")], |_| 0);
        assert_eq!(both.unwrap(), ["a"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let many = (0..100).map(|n| srv(n, 0, "x")).collect();
        assert_eq!(hosts(many, vec![], |_| 0).unwrap().len(), TARGETS);
    }
}
