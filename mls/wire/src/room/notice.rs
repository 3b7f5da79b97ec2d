//! What the hub itself says in a room's log: the payload of a notice other than the room's first.

use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use super::Member;

/// Before the octets of each, so that nothing else is taken for one.
const LABEL: &[u8] = b"comity notice v1\0";

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u16)]
pub enum Notice {
    /// A device commits no more; somebody else is asked to commit.
    Barred(Barred) = 1,
    /// A device is asked to commit what is pending.
    Nominated(Nominated) = 2,
}

/// Whom the hub asks to commit the pending proposals of the epoch.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Nominated {
    account: String,
    device: [u8; 16],
}

impl Nominated {
    #[must_use]
    pub fn new(member: &Member) -> Self {
        Self {
            account: member.account.as_str().to_owned(),
            device: member.device.into_bytes(),
        }
    }

    /// None where the hub wrote an address that is none.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        Some(Member {
            account: BareJid::parse(&self.account).ok()?,
            device: Uuid::from_bytes(self.device),
        })
    }
}

/// Members of several accounts could not apply a commit of this device.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Barred {
    account: String,
    device: [u8; 16],
    /// The commit.
    pub seq: u64,
}

impl Barred {
    #[must_use]
    pub fn new(member: &Member, seq: u64) -> Self {
        Self {
            account: member.account.as_str().to_owned(),
            device: member.device.into_bytes(),
            seq,
        }
    }

    /// None where the hub wrote an address that is none.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        Some(Member {
            account: BareJid::parse(&self.account).ok()?,
            device: Uuid::from_bytes(self.device),
        })
    }
}

impl Notice {
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = LABEL.to_vec();
        // Strings of a few octets: nothing to fail at.
        let _ = self.mls_encode(&mut out);
        out
    }

    /// None: a notice that this version does not know.
    #[must_use]
    pub fn from_bytes(payload: &[u8]) -> Option<Self> {
        let mut rest = payload.strip_prefix(LABEL)?;
        let notice = Self::mls_decode(&mut rest).ok()?;
        rest.is_empty().then_some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_survive_and_nothing_else_is_one() {
        let member = Member {
            account: BareJid::parse("bob@b.example").unwrap(),
            device: Uuid::from_u128(2),
        };
        let nominated = Notice::Nominated(Nominated::new(&member));
        let read = Notice::from_bytes(&nominated.to_bytes());
        assert_eq!(read.as_ref(), Some(&nominated));
        let Some(Notice::Nominated(nominated)) = read else {
            unreachable!()
        };
        assert_eq!(nominated.member().as_ref(), Some(&member));
        let notice = Notice::Barred(Barred::new(&member, 7));
        let bytes = notice.to_bytes();
        assert_eq!(Notice::from_bytes(&bytes), Some(notice.clone()));
        let Notice::Barred(barred) = notice else {
            unreachable!()
        };
        assert_eq!(barred.member(), Some(member));
        for end in 0..bytes.len() {
            assert_eq!(Notice::from_bytes(&bytes[..end]), None);
        }
        assert_eq!(Notice::from_bytes(&[&bytes[..], &[0]].concat()), None);
        let mut unknown = bytes;
        unknown[LABEL.len() + 1] = 9;
        assert_eq!(Notice::from_bytes(&unknown), None);
    }
}
