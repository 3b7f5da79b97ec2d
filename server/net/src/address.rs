//! What an address is for: the Internet, or only this machine and its surroundings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address that is not of the Internet leads: whoever lets others name the addresses it
/// connects to must not let them name these (RFC 6890 lists them). `None`: the Internet.
#[must_use]
pub fn confined(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => confined_v4(address),
        IpAddr::V6(address) => confined_v6(address),
    }
}

fn confined_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        (0, ..) => Some("unspecified"),
        (127, ..) => Some("loopback"),
        (169, 254, _) => Some("link-local"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        // RFC 6598: between a provider and its customers.
        (100, 64..=127, _) => Some("private"),
        // RFC 6890, and RFC 2544 for networks under test.
        (192, 0, 0) | (198, 18..=19, _) => Some("special"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn confined_v6(address: Ipv6Addr) -> Option<&'static str> {
    // An address of IPv4 in one of its disguises is what it is without: mapped (RFC 4291), translated
    // (RFC 6052), tunnelled (RFC 3056).
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            confined_v4(embedded(high, low))
        }
        [0x2002, high, low, ..] => confined_v4(embedded(high, low)),
        // RFC 8215: translation inside a network.
        [0x64, 0xff9b, 1, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("private"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_internet_is_known_in_every_disguise() {
        let cases = [
            ("192.0.2.1", None),
            ("8.8.8.8", None),
            ("172.15.0.1", None),
            ("172.32.0.1", None),
            ("100.63.255.255", None),
            ("2001:db8::1", None),
            ("2a00::1", None),
            ("::ffff:192.0.2.1", None),
            ("64:ff9b::192.0.2.1", None),
            ("0.0.0.0", Some("unspecified")),
            ("127.255.255.254", Some("loopback")),
            ("10.1.2.3", Some("private")),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.168.1.1", Some("private")),
            ("100.64.0.1", Some("private")),
            ("169.254.169.254", Some("link-local")),
            ("192.0.0.8", Some("special")),
            ("198.19.0.1", Some("special")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::127.0.0.1", Some("loopback")),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b:1::1", Some("private")),
            ("2002:7f00:1::", Some("loopback")),
            ("fe80::1", Some("link-local")),
            ("fd12::1", Some("private")),
            ("fec0::1", Some("private")),
            ("ff02::1", Some("multicast")),
        ];
        for (address, expect) in cases {
            assert_eq!(confined(address.parse().unwrap()), expect, "{address}");
        }
    }
}
