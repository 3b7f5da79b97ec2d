//! What may be read of any MLSMessage without keys and without decoding its content: group, epoch,
//! content type (RFC 9420 §6). For an application message that is all a Delivery Service ever sees.

/// An MLSMessage from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing<'a> {
    /// §6.2; what follows the framing is not looked at.
    Public {
        group_id: &'a [u8],
        epoch: u64,
        sender: Sender,
        authenticated_data: &'a [u8],
        content: Content,
    },
    /// §6.3; whole, and nothing after it.
    Private {
        group_id: &'a [u8],
        epoch: u64,
        content: Content,
        authenticated_data: &'a [u8],
    },
    Welcome {
        suite: u16,
    },
    GroupInfo {
        suite: u16,
        group_id: &'a [u8],
        epoch: u64,
    },
    KeyPackage {
        suite: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Application,
    Proposal,
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Member(u32),
    External(u32),
    NewMemberProposal,
    NewMemberCommit,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("the message ends within its framing")]
    Short,
    #[error("a length is not written in its shortest form")]
    Length,
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    #[error("{field} {found} is not known")]
    Unknown { field: &'static str, found: u16 },
}

/// `mls10`, the one version (RFC 9420 §6).
const MLS10: u16 = 1;

impl<'a> Framing<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, FramingError> {
        let mut reader = Reader(message);
        reader.version()?;
        match reader.u16()? {
            1 => reader.public(),
            2 => reader.private(),
            3 => Ok(Self::Welcome {
                suite: reader.u16()?,
            }),
            4 => {
                reader.version()?;
                Ok(Self::GroupInfo {
                    suite: reader.u16()?,
                    group_id: reader.vector()?,
                    epoch: reader.u64()?,
                })
            }
            5 => {
                reader.version()?;
                Ok(Self::KeyPackage {
                    suite: reader.u16()?,
                })
            }
            found => Err(FramingError::Unknown {
                field: "wire format",
                found,
            }),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn public(&mut self) -> Result<Framing<'a>, FramingError> {
        Ok(Framing::Public {
            group_id: self.vector()?,
            epoch: self.u64()?,
            sender: self.sender()?,
            authenticated_data: self.vector()?,
            content: self.content()?,
        })
    }

    fn private(&mut self) -> Result<Framing<'a>, FramingError> {
        let framing = Framing::Private {
            group_id: self.vector()?,
            epoch: self.u64()?,
            content: self.content()?,
            authenticated_data: self.vector()?,
        };
        // encrypted_sender_data, ciphertext.
        self.vector()?;
        self.vector()?;
        match self.0.len() {
            0 => Ok(framing),
            more => Err(FramingError::Trailing(more)),
        }
    }

    fn sender(&mut self) -> Result<Sender, FramingError> {
        match self.u8()? {
            1 => Ok(Sender::Member(self.u32()?)),
            2 => Ok(Sender::External(self.u32()?)),
            3 => Ok(Sender::NewMemberProposal),
            4 => Ok(Sender::NewMemberCommit),
            found => Err(FramingError::Unknown {
                field: "sender type",
                found: found.into(),
            }),
        }
    }

    fn content(&mut self) -> Result<Content, FramingError> {
        match self.u8()? {
            1 => Ok(Content::Application),
            2 => Ok(Content::Proposal),
            3 => Ok(Content::Commit),
            found => Err(FramingError::Unknown {
                field: "content type",
                found: found.into(),
            }),
        }
    }

    fn version(&mut self) -> Result<(), FramingError> {
        match self.u16()? {
            MLS10 => Ok(()),
            found => Err(FramingError::Unknown {
                field: "protocol version",
                found,
            }),
        }
    }

    /// RFC 9420 §2.1.2: the length in 1, 2 or 4 bytes, told by the two highest bits, and no longer
    /// than it has to be.
    fn vector(&mut self) -> Result<&'a [u8], FramingError> {
        let first = self.u8()?;
        let rest = match first >> 6 {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => return Err(FramingError::Length),
        };
        let mut length = usize::from(first & 0x3f);
        for byte in self.take(rest)? {
            length = length << 8 | usize::from(*byte);
        }
        let shortest = match rest {
            0 => true,
            1 => length >= 1 << 6,
            _ => length >= 1 << 14,
        };
        if !shortest {
            return Err(FramingError::Length);
        }
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FramingError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FramingError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FramingError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FramingError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, FramingError> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, FramingError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, FramingError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, FramingError> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(content: u8) -> Vec<u8> {
        let mut out = vec![0, 1, 0, 2, 2, b'g', b'h'];
        out.extend_from_slice(&7_u64.to_be_bytes());
        out.extend_from_slice(&[content, 1, b'a', 1, b's', 0x40, 64]);
        out.extend_from_slice(&[9; 64]);
        out
    }

    #[test]
    fn reads_a_private_message() {
        let expected = Framing::Private {
            group_id: b"gh",
            epoch: 7,
            content: Content::Application,
            authenticated_data: b"a",
        };
        assert_eq!(Framing::read(&private(1)), Ok(expected));
    }

    #[test]
    fn reads_a_public_message_up_to_its_content() {
        let mut message = vec![0, 1, 0, 1, 1, b'g'];
        message.extend_from_slice(&3_u64.to_be_bytes());
        message.extend_from_slice(&[1, 0, 0, 0, 5, 0, 3, 0xff, 0xff]);
        let expected = Framing::Public {
            group_id: b"g",
            epoch: 3,
            sender: Sender::Member(5),
            authenticated_data: b"",
            content: Content::Commit,
        };
        assert_eq!(Framing::read(&message), Ok(expected));
    }

    #[test]
    fn every_part_of_a_message_is_too_short() {
        let message = private(1);
        for end in 0..message.len() {
            assert_eq!(
                Framing::read(&message[..end]),
                Err(FramingError::Short),
                "{end}"
            );
        }
    }

    #[test]
    fn refuses_what_follows_and_what_is_unknown() {
        let check = |message: &[u8], error: FramingError| {
            assert_eq!(Framing::read(message), Err(error));
        };
        let unknown = |field, found| FramingError::Unknown { field, found };
        let mut long = private(1);
        long.push(0);
        check(&long, FramingError::Trailing(1));
        check(&private(4), unknown("content type", 4));
        check(&[0, 2, 0, 2], unknown("protocol version", 2));
        check(&[0, 1, 0, 6], unknown("wire format", 6));
        let mut sender = vec![0, 1, 0, 1, 0];
        sender.extend_from_slice(&[0; 8]);
        sender.push(5);
        check(&sender, unknown("sender type", 5));
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for length in [&[0x40, 1][..], &[0x80, 0, 0x3f, 0xff], &[0xc0]] {
            let message = [&[0, 1, 0, 2], length, &[0; 64]].concat();
            assert_eq!(Framing::read(&message), Err(FramingError::Length));
        }
    }

    #[test]
    fn the_corpus_is_read_or_refused() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/framing");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let ours = Framing::read(&bytes).is_ok();
            // What mls-rs decodes whole, this reads as well; the reverse need not hold.
            if mls_rs::MlsMessage::from_bytes(&bytes).is_ok() {
                assert!(ours);
            }
            seen += 1;
        }
        assert!(seen > 5);
    }
}
