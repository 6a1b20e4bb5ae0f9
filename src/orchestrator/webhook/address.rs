//! Which addresses a webhook may be at. Whoever may set a name in the DNS must not reach what only this machine reaches.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is in the own network, or on the own machine.
    Private,
    /// No service for others can be there: link-local (metadata of clouds), multicast, reserved.
    Never,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "is private; set alerts.webhook.private_addresses = true if that is meant",
            Self::Never => "is link-local, multicast or reserved, and never asked",
        })
    }
}

/// Why this address is not asked; none where it may be.
#[must_use]
pub fn refusal(address: IpAddr, private_allowed: bool) -> Option<Refusal> {
    let refusal = match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    };
    refusal.filter(|refusal| *refusal == Refusal::Never || !private_allowed)
}

const fn of_v4(address: Ipv4Addr) -> Option<Refusal> {
    match address.octets() {
        [0 | 224..=255, ..] | [169, 254, ..] => Some(Refusal::Never),
        // Documentation.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some(Refusal::Never),
        [10 | 127, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        // Of the provider, of protocols, of benchmarks.
        | [100, 64..=127, ..]
        | [192, 0, 0, _]
        | [198, 18 | 19, ..] => Some(Refusal::Private),
        _ => None,
    }
}

const fn of_v6(address: Ipv6Addr) -> Option<Refusal> {
    let [.., high, low] = address.segments();
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let last = Ipv4Addr::new(a, b, c, d);
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Refusal::Never),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Refusal::Private),
        // An address of version 4 in other clothes: mapped, compatible, behind a translator.
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => of_v4(last),
        // Tunnels, whose other end may be anywhere; documentation.
        [0x2002, ..] | [0x2001, 0 | 0xdb8, ..] | [0x64, 0xff9b, ..] => Some(Refusal::Never),
        [0xfe80..=0xfebf | 0xff00..=0xffff, ..] => Some(Refusal::Never),
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some(Refusal::Private),
        // What was given to networks.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Refusal::Never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_asked_unless_private_ones_are_allowed() {
        use Refusal::{Never, Private};
        for (text, expected) in [
            ("93.184.216.34", None),
            ("2606:2800:220:1::1", None),
            ("127.0.0.1", Some(Private)),
            ("10.1.2.3", Some(Private)),
            ("172.31.0.1", Some(Private)),
            ("172.32.0.1", None),
            ("192.168.1.1", Some(Private)),
            ("100.64.0.1", Some(Private)),
            ("169.254.169.254", Some(Never)),
            ("0.0.0.0", Some(Never)),
            ("224.0.0.1", Some(Never)),
            ("255.255.255.255", Some(Never)),
            ("::", Some(Never)),
            ("::1", Some(Private)),
            ("fd00::1", Some(Private)),
            ("fe80::1", Some(Never)),
            ("ff02::1", Some(Never)),
            ("::ffff:127.0.0.1", Some(Private)),
            ("::ffff:169.254.169.254", Some(Never)),
            ("::ffff:93.184.216.34", None),
            ("::7f00:1", Some(Private)),
            ("64:ff9b::a9fe:a9fe", Some(Never)),
            ("2002:7f00:1::", Some(Never)),
            ("2001:0:1::", Some(Never)),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(refusal(address, false), expected, "{text}");
            let never = expected.filter(|refusal| *refusal == Never);
            assert_eq!(refusal(address, true), never, "{text}");
        }
    }
}
