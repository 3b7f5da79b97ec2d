//! Tells somebody who looks elsewhere that there is something to read: by the bell, or by the
//! sequences with which terminals show notifications of the desktop. These reach the desktop through
//! ssh as well, and need no service on it.
//!
//! What is told is who and where, unless more is asked for: notifications are shown on locked screens,
//! and kept by desktops.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use comity_xmpp::jid::BareJid;

use super::clean::clean;

/// Notifications come no faster.
const PAUSE: Duration = Duration::from_secs(2);
/// Characters of one.
const MAX_WORDS: usize = 200;

/// What somebody wants to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Notify {
    /// Nothing
    Off,
    /// Direct conversations, answers to what one said, and one's own name
    Mentions,
    /// Every message
    All,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// As the terminal is known to do it, else the bell
    Auto,
    /// The bell: terminals and desktops make of it what they are set to
    Bell,
    /// OSC 9: iTerm2, kitty, WezTerm, ghostty, Windows Terminal
    Osc9,
    /// OSC 777: foot, urxvt, VTE with its patch
    Osc777,
}

/// A message, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    pub room: &'a str,
    pub from: &'a str,
    pub text: &'a str,
    /// Between two, or an answer to what one said oneself.
    pub personal: bool,
}

pub struct Notifier {
    what: Notify,
    by: By,
    /// What was said is told, too.
    with_text: bool,
    last: Option<Instant>,
}

impl Notifier {
    #[must_use]
    pub fn new(what: Notify, by: By, with_text: bool) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let by = match by {
            By::Auto => usual(&variable("TERM"), &variable("TERM_PROGRAM")),
            by => by,
        };
        Self {
            what,
            by,
            with_text,
            last: None,
        }
    }

    /// What goes to the terminal for a message, if anything.
    pub fn words(&mut self, own: &BareJid, news: News<'_>, now: Instant) -> Option<String> {
        let wanted = match self.what {
            Notify::Off => false,
            Notify::Mentions => news.personal || mentions(own, news.text),
            Notify::All => true,
        };
        if !wanted || self.last.is_some_and(|last| now < last + PAUSE) {
            return None;
        }
        self.last = Some(now);
        Some(sequence(self.by, &self.line(news)))
    }

    /// The same, said at once.
    pub fn tell(&mut self, own: &BareJid, news: News<'_>) {
        if let Some(words) = self.words(own, news, Instant::now()) {
            let mut out = std::io::stdout().lock();
            // A terminal that is gone needs to know nothing.
            let _ = out.write_all(words.as_bytes()).and_then(|()| out.flush());
        }
    }

    fn line(&self, news: News<'_>) -> String {
        let News {
            room, from, text, ..
        } = news;
        let words = match (self.with_text, room == from) {
            (false, true) => format!("{from} has written"),
            (false, false) => format!("{from} has written in {room}"),
            (true, true) => format!("{from}: {text}"),
            (true, false) => format!("{from} in {room}: {text}"),
        };
        // Nobody else ends the sequence, or adds to it: what they wrote is text.
        clean(&words)
            .chars()
            .map(|c| if c == ';' { ',' } else { c })
            .take(MAX_WORDS)
            .collect()
    }
}

fn sequence(by: By, words: &str) -> String {
    match by {
        By::Auto | By::Bell => "\u{7}".to_owned(),
        By::Osc9 => format!("\u{1b}]9;{words}\u{7}"),
        By::Osc777 => format!("\u{1b}]777;notify;comity-chat;{words}\u{7}"),
    }
}

/// Inside tmux and screen only the bell gets out.
fn usual(term: &str, program: &str) -> By {
    if term.starts_with("tmux") || term.starts_with("screen") {
        return By::Bell;
    }
    let known = |names: &[&str]| {
        let name = |name: &&str| term.contains(*name) || program.eq_ignore_ascii_case(name);
        names.iter().any(name)
    };
    if known(&["kitty", "iTerm.app", "WezTerm", "ghostty"]) {
        By::Osc9
    } else if known(&["foot", "rxvt"]) {
        By::Osc777
    } else {
        By::Bell
    }
}

/// Whether a text names somebody: the address, or the name before the `@` as a word.
fn mentions(own: &BareJid, text: &str) -> bool {
    let text = text.to_lowercase();
    if text.contains(own.as_str()) {
        return true;
    }
    let name = own.local().unwrap_or_default().to_lowercase();
    if name.is_empty() {
        return false;
    }
    let part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(name.as_str()).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !part(before) && !part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn romeo() -> BareJid {
        BareJid::parse("romeo@montague.example").unwrap()
    }

    fn news(text: &str) -> News<'_> {
        News {
            room: "Balcony",
            from: "juliet@capulet.example",
            text,
            personal: false,
        }
    }

    #[test]
    fn somebody_is_told_of_what_they_asked_for() {
        for (what, text, personal, told) in [
            (Notify::Off, "Romeo!", true, false),
            (Notify::Mentions, "Tea?", false, false),
            (Notify::Mentions, "Tea?", true, true),
            (Notify::Mentions, "O Romeo, Romeo!", false, true),
            (Notify::Mentions, "ask romeo@montague.example", false, true),
            (Notify::Mentions, "romeos", false, false),
            (Notify::Mentions, "tromeo", false, false),
            (Notify::Mentions, "ſtrange ROMEO.", false, true),
            (Notify::All, "Tea?", false, true),
        ] {
            let mut notifier = Notifier::new(what, By::Bell, false);
            let news = News {
                personal,
                ..news(text)
            };
            let words = notifier.words(&romeo(), news, Instant::now());
            assert_eq!(words.is_some(), told, "{what:?} {text}");
        }
    }

    #[test]
    fn what_was_said_stays_here_and_controls_nothing() {
        let mut quiet = Notifier::new(Notify::All, By::Osc9, false);
        let now = Instant::now();
        let words = quiet.words(&romeo(), news("the secret"), now).unwrap();
        assert_eq!(
            words,
            "\u{1b}]9;juliet@capulet.example has written in Balcony\u{7}"
        );
        // Not one for each of a hundred.
        assert_eq!(quiet.words(&romeo(), news("more"), now), None);
        assert!(quiet.words(&romeo(), news("more"), now + PAUSE).is_some());
        let mut loud = Notifier::new(Notify::All, By::Osc777, true);
        let hostile = "a\u{7}\u{1b}]0;owned\u{9c};b";
        let words = loud.words(&romeo(), news(hostile), now).unwrap();
        let inner = words
            .strip_prefix("\u{1b}]777;notify;comity-chat;")
            .unwrap();
        let inner = inner.strip_suffix('\u{7}').unwrap();
        assert!(
            !inner.contains(|c: char| c.is_control() || c == ';'),
            "{inner:?}"
        );
    }

    #[test]
    fn terminals_are_spoken_to_as_they_understand() {
        for (term, program, by) in [
            ("xterm-256color", "", By::Bell),
            ("xterm-kitty", "", By::Osc9),
            ("xterm-256color", "WezTerm", By::Osc9),
            ("foot", "", By::Osc777),
            ("rxvt-unicode-256color", "", By::Osc777),
            ("tmux-256color", "WezTerm", By::Bell),
            ("screen", "", By::Bell),
            ("", "", By::Bell),
        ] {
            assert_eq!(usual(term, program), by, "{term} {program}");
        }
    }
}
