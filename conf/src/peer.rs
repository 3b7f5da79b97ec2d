//! `[s2s.peers]`: what holds for one other domain in place of the rule for all.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// What is asked of it. Default: what is asked of everybody.
    pub policy: Option<Policy>,
    /// The keys it is believed with, and no others, whoever has issued its certificate for whatever
    /// name and time. Default none: whatever an authority vouches for. Two let a key be changed.
    pub pins: Vec<Pin>,
}

/// `allow` and `require` make streams with the domain possible where `federation` lists domains. Each
/// takes the place of what `s2s.dialback` says for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// A certificate, or where none is shown, dialback; and dialback for us, where ours is not
    /// wanted. Where there are `pins`, a certificate with one of these keys.
    Allow,
    /// A certificate that proves it, and no dialback in either direction.
    Require,
    /// No streams with it.
    Deny,
}

/// SHA-256 of the public key (subjectPublicKeyInfo) of a certificate; 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(pub [u8; 32]);

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not the SHA-256 of a key, 64 hexadecimal digits: openssl x509 -in \
                 cert.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum"
            )
        };
        // By characters: a slice of text could begin in the middle of one.
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits
            .filter(|digits| digits.len() == 64)
            .ok_or_else(refused)?;
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| refused())?;
        }
        Ok(Self(pin))
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
