//! Which stanza it is, with its `type` attribute understood.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    Chat,
    Error,
    Groupchat,
    Headline,
    Normal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceType {
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
}

/// Which stanza it is, with its `type` attribute understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message(MessageType),
    Presence(PresenceType),
    Iq(IqType),
}

impl Kind {
    /// The element's name and its `type`: None for a type or a name that nobody has defined.
    #[must_use]
    pub fn from_names(name: &str, type_: Option<&str>) -> Option<Self> {
        Some(match name {
            "message" => Self::Message(MessageType::from_name(type_)),
            "presence" => Self::Presence(PresenceType::from_name(type_)?),
            "iq" => Self::Iq(IqType::from_name(type_)?),
            _ => return None,
        })
    }

    /// `message`, `presence` or `iq`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Presence(_) => "presence",
            Self::Iq(_) => "iq",
        }
    }

    /// The `type` attribute; None where its absence says the same.
    #[must_use]
    pub fn type_name(self) -> Option<&'static str> {
        Some(match self {
            Self::Message(MessageType::Chat) => "chat",
            Self::Message(MessageType::Groupchat) => "groupchat",
            Self::Message(MessageType::Headline) => "headline",
            Self::Message(MessageType::Normal) => return None,
            Self::Presence(PresenceType::Available) => return None,
            Self::Presence(PresenceType::Unavailable) => "unavailable",
            Self::Presence(PresenceType::Subscribe) => "subscribe",
            Self::Presence(PresenceType::Subscribed) => "subscribed",
            Self::Presence(PresenceType::Unsubscribe) => "unsubscribe",
            Self::Presence(PresenceType::Unsubscribed) => "unsubscribed",
            Self::Presence(PresenceType::Probe) => "probe",
            Self::Iq(IqType::Get) => "get",
            Self::Iq(IqType::Set) => "set",
            Self::Iq(IqType::Result) => "result",
            Self::Message(MessageType::Error)
            | Self::Presence(PresenceType::Error)
            | Self::Iq(IqType::Error) => "error",
        })
    }

    /// The same stanza's error.
    #[must_use]
    pub fn to_error(self) -> Self {
        match self {
            Self::Message(_) => Self::Message(MessageType::Error),
            Self::Presence(_) => Self::Presence(PresenceType::Error),
            Self::Iq(_) => Self::Iq(IqType::Error),
        }
    }

    #[must_use]
    pub fn is_error(self) -> bool {
        self == self.to_error()
    }

    /// An IQ that has to be answered (RFC 6120 §8.2.3).
    #[must_use]
    pub fn is_request(self) -> bool {
        matches!(self, Self::Iq(IqType::Get | IqType::Set))
    }
}

impl MessageType {
    /// RFC 6121 §5.2.2: no type, and one that is not understood, is normal.
    fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("chat") => Self::Chat,
            Some("error") => Self::Error,
            Some("groupchat") => Self::Groupchat,
            Some("headline") => Self::Headline,
            _ => Self::Normal,
        }
    }
}

impl PresenceType {
    fn from_name(name: Option<&str>) -> Option<Self> {
        Some(match name {
            None => Self::Available,
            Some("unavailable") => Self::Unavailable,
            Some("subscribe") => Self::Subscribe,
            Some("subscribed") => Self::Subscribed,
            Some("unsubscribe") => Self::Unsubscribe,
            Some("unsubscribed") => Self::Unsubscribed,
            Some("probe") => Self::Probe,
            Some("error") => Self::Error,
            Some(_) => return None,
        })
    }
}

impl IqType {
    fn from_name(name: Option<&str>) -> Option<Self> {
        Some(match name? {
            "get" => Self::Get,
            "set" => Self::Set,
            "result" => Self::Result,
            "error" => Self::Error,
            _ => return None,
        })
    }
}
