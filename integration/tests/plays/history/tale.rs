//! What has happened in a history, for whoever has to find out why it failed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Lines that are kept: the last ones.
const LINES: usize = 120;

#[derive(Clone, Default)]
pub(super) struct Tale(Arc<Mutex<VecDeque<String>>>);

impl Tale {
    pub(super) fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl fmt::Display for Tale {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lock().unwrap().iter() {
            writeln!(to, "{line}")?;
        }
        Ok(())
    }
}
