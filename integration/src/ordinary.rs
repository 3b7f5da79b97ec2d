//! Somebody with an ordinary XMPP client (slixmpp), at our server or at another: told what to do,
//! telling what happens.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(45);

/// Dropping it ends the client.
pub struct Ordinary {
    jid: String,
    process: Child,
    orders: ChildStdin,
    happenings: UnboundedReceiver<Value>,
    /// What came while something else was awaited.
    earlier: Vec<Value>,
}

impl Ordinary {
    /// Logs in. `authority` is whose certificates it believes.
    ///
    /// # Panics
    /// When that fails.
    pub async fn login(jid: &str, password: &str, server: SocketAddr, authority: &Path) -> Self {
        Self::login_by("person.py", jid, password, server, authority).await
    }

    /// The same by another program of `peers/` that does all that `person.py` does, and more.
    ///
    /// # Panics
    /// When that fails.
    pub async fn login_by(
        program: &str,
        jid: &str,
        password: &str,
        server: SocketAddr,
        authority: &Path,
    ) -> Self {
        let mut command = Command::new(crate::python());
        command
            .arg(crate::peer(program))
            .args([jid, password])
            .args([server.ip().to_string(), server.port().to_string()])
            .arg(authority);
        let mut this = Self::start(jid, &mut command);
        this.until(&json!({"event": "ready"})).await;
        this
    }

    /// Somebody with another program that takes such orders.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(jid: &str, command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("integration/run has installed it");
        let orders = process.stdin.take().expect("it was piped");
        let lines = BufReader::new(process.stdout.take().expect("it was piped")).lines();
        let (tell, happenings) = unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(happening) = serde_json::from_str(&line) else {
                    continue;
                };
                if tell.send(happening).is_err() {
                    return;
                }
            }
        });
        Self {
            jid: jid.to_owned(),
            process,
            orders,
            happenings,
            earlier: Vec::new(),
        }
    }

    #[must_use]
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// # Errors
    /// When the client has gone.
    pub fn order(&mut self, order: &Value) -> io::Result<()> {
        writeln!(self.orders, "{order}")
    }

    /// # Panics
    /// When the client has gone.
    pub fn says(&mut self, to: &str, text: &str) {
        self.order(&json!({"do": "message", "to": to, "text": text}))
            .expect("the client runs");
    }

    /// Waits for a message.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn hears(&mut self, from: &str, text: &str) {
        self.until(&json!({"event": "message", "from": from, "text": text}))
            .await;
    }

    /// Asks an entity with an IQ and gives what it answers.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn asks(&mut self, what: &str, of: &str) -> String {
        self.order(&json!({"do": what, "to": of}))
            .expect("the client runs");
        let answer = self.until(&json!({"event": "answer", "to": of})).await;
        answer["what"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for something that has at least the members of `wanted`.
    ///
    /// # Panics
    /// When it does not happen in time.
    pub async fn until(&mut self, wanted: &Value) -> Value {
        self.within(LIMIT, wanted)
            .await
            .unwrap_or_else(|| panic!("{}: no {wanted} came, but {:?}", self.jid, self.earlier))
    }

    /// Says the numbers of a range, one message each, with a pause after each.
    ///
    /// # Panics
    /// When the client has gone.
    pub fn counts(&mut self, to: &str, numbers: Range<usize>, pause: Duration) {
        let order = json!({
            "do": "burst", "to": to, "from": numbers.start, "until": numbers.end,
            "pause": pause.as_secs_f64(),
        });
        self.order(&order).expect("the client runs");
    }

    /// The numbers that come from somebody, until the `last` has come or nothing has for `quiet`.
    pub async fn numbers(&mut self, from: &str, last: usize, quiet: Duration) -> Vec<usize> {
        let wanted = json!({"event": "message", "from": from});
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            let Some(message) = self.within(quiet, &wanted).await else {
                break;
            };
            let text = message["text"].as_str().unwrap_or_default();
            numbers.extend(text.parse::<usize>());
        }
        numbers
    }

    /// Something of the kind that has come by now.
    pub fn already(&mut self, wanted: &Value) -> Option<Value> {
        while let Ok(happening) = self.happenings.try_recv() {
            self.earlier.push(happening);
        }
        let place = self.earlier.iter().position(|had| fits(had, wanted))?;
        Some(self.earlier.remove(place))
    }

    /// The same, or nothing.
    pub async fn within(&mut self, limit: Duration, wanted: &Value) -> Option<Value> {
        if let Some(place) = self.earlier.iter().position(|had| fits(had, wanted)) {
            return Some(self.earlier.remove(place));
        }
        let deadline = Instant::now() + limit;
        loop {
            let next = tokio::time::timeout_at(deadline.into(), self.happenings.recv()).await;
            let happening = next.ok().flatten()?;
            if fits(&happening, wanted) {
                return Some(happening);
            }
            self.earlier.push(happening);
        }
    }
}

fn fits(happening: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().expect("what is wanted has members");
    wanted
        .iter()
        .all(|(key, value)| happening.get(key) == Some(value))
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
