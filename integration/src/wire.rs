//! Two servers in network namespaces of their own, with a wire between them that can be cut, slowed
//! and made to lose packets, as the kernel does it: a veth pair, nftables, `tc tbf`. Their clients'
//! way to them is another and stays well.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::network::{DNS, Network, Place};

/// Where they listen; the blocks are for documentation (RFC 5737, RFC 3849).
const PLACES: [Place; 2] = [place(1), place(2)];
/// The play's end of the clients' way to each, and theirs.
const CLIENTS: [[Ipv4Addr; 2]; 2] = [ends(1), ends(2)];
/// The ends of the wire.
const ENDS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
];
const NAMES: [&str; 2] = ["first", "second"];
/// What each calls its end.
const DEVICE: &str = "wire";

const fn place(n: u8) -> Place {
    Place {
        v4: Ipv4Addr::new(203, 0, 113, n),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n as u16),
    }
}

const fn ends(n: u8) -> [Ipv4Addr; 2] {
    [Ipv4Addr::new(198, 18, n, 1), Ipv4Addr::new(198, 18, n, 2)]
}

/// What is wrong with the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing comes through, and nobody is told.
    Dropping,
    /// What this one sends does not arrive; it still hears the other.
    Mute(usize),
    /// The device of one of them is down: there is no way any longer.
    Down(usize),
    /// So many kilobits a second; what does not fit into a short queue is dropped.
    Slow(u32),
    /// Of a hundred packets so many are dropped.
    Losing(u32),
}

/// The wire, in the play's network.
pub struct Wire<'a> {
    network: &'a Network,
}

impl<'a> Wire<'a> {
    /// Makes the namespaces, and the wire between them.
    ///
    /// # Errors
    /// What the system says: it takes root.
    pub fn lay(network: &'a Network) -> io::Result<Self> {
        std::fs::create_dir_all("/run/netns")?;
        // Names of namespaces are the play's own.
        network.run("mount", &["-t", "tmpfs", "tmpfs", "/run/netns"])?;
        let wire = Self { network };
        for name in NAMES {
            network.run("ip", &["netns", "add", name])?;
        }
        let [first, second] = NAMES;
        wire.ip(&format!(
            "link add {DEVICE} netns {first} type veth peer name {DEVICE} netns {second}"
        ))?;
        for n in [0, 1] {
            wire.settle(n)?;
        }
        wire.routes()?;
        Ok(wire)
    }

    fn settle(&self, n: usize) -> io::Result<()> {
        let (name, Place { v4, v6 }) = (NAMES[n], PLACES[n]);
        let ([ours, theirs], end, dns) = (CLIENTS[n], ENDS[n], DNS);
        let device = format!("clients{n}");
        self.ip(&format!(
            "link add {device} type veth peer name clients netns {name}"
        ))?;
        self.ip(&format!("address add {ours}/24 dev {device}"))?;
        self.ip(&format!("link set {device} up"))?;
        self.ip(&format!("-n {name} address add {theirs}/24 dev clients"))?;
        for device in ["lo", "clients", DEVICE] {
            self.ip(&format!("-n {name} link set {device} up"))?;
        }
        self.ip(&format!("-n {name} address add {v4}/32 dev lo"))?;
        self.ip(&format!("-n {name} address add {v6}/128 dev lo nodad"))?;
        self.ip(&format!("-n {name} address add {end}/24 dev {DEVICE}"))?;
        self.ip(&format!("route add {v4}/32 via {theirs}"))?;
        self.ip(&format!("-n {name} route add {dns}/32 via {ours}"))
    }

    /// The way of each to the other leads over the wire. It is gone when a device was down.
    fn routes(&self) -> io::Result<()> {
        for (n, other) in [(0, 1), (1, 0)] {
            let (name, via, to) = (NAMES[n], ENDS[other], PLACES[other].v4);
            self.ip(&format!("-n {name} route replace {to}/32 via {via}"))?;
        }
        Ok(())
    }

    /// Where the n-th listens.
    #[must_use]
    pub fn place(n: usize) -> Place {
        PLACES[n]
    }

    /// The namespace of the n-th.
    #[must_use]
    pub fn namespace(n: usize) -> &'static str {
        NAMES[n]
    }

    /// # Errors
    /// What the system says.
    pub fn begin(&self, trouble: Trouble) -> io::Result<()> {
        match trouble {
            Trouble::Dropping => self.drops(0, "").and_then(|()| self.drops(1, "")),
            Trouble::Mute(n) => self.drops(n, ""),
            Trouble::Losing(percent) => {
                let some = format!("numgen random mod 100 < {percent}");
                self.drops(0, &some).and_then(|()| self.drops(1, &some))
            }
            Trouble::Down(n) => self.ip(&format!("-n {} link set {DEVICE} down", NAMES[n])),
            Trouble::Slow(kilobits) => NAMES.iter().try_for_each(|name| {
                self.words(
                    "tc",
                    &format!(
                        "-n {name} qdisc replace dev {DEVICE} root tbf rate {kilobits}kbit \
                         burst 4kb latency 100ms"
                    ),
                )
            }),
        }
    }

    /// # Errors
    /// What the system says.
    pub fn end(&self, trouble: Trouble) -> io::Result<()> {
        match trouble {
            Trouble::Dropping | Trouble::Losing(_) => {
                self.drops_no_more(0).and_then(|()| self.drops_no_more(1))
            }
            Trouble::Mute(n) => self.drops_no_more(n),
            Trouble::Down(n) => {
                self.ip(&format!("-n {} link set {DEVICE} up", NAMES[n]))?;
                self.routes()
            }
            Trouble::Slow(_) => NAMES.iter().try_for_each(|name| {
                self.words("tc", &format!("-n {name} qdisc delete dev {DEVICE} root"))
            }),
        }
    }

    /// What the n-th sends over the wire, where `which` is true of it, is lost.
    fn drops(&self, n: usize, which: &str) -> io::Result<()> {
        let name = NAMES[n];
        for command in [
            "add table inet trouble".to_owned(),
            "add chain inet trouble out { type filter hook output priority 0 ; }".to_owned(),
            format!("add rule inet trouble out oifname {DEVICE} {which} drop"),
        ] {
            self.network
                .run("ip", &["netns", "exec", name, "nft", &command])?;
        }
        Ok(())
    }

    fn drops_no_more(&self, n: usize) -> io::Result<()> {
        let table = "delete table inet trouble";
        self.network
            .run("ip", &["netns", "exec", NAMES[n], "nft", table])
    }

    fn ip(&self, words: &str) -> io::Result<()> {
        self.words("ip", words)
    }

    fn words(&self, program: &str, words: &str) -> io::Result<()> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.network.run(program, &words)
    }
}
