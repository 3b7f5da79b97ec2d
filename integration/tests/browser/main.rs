//! Clients in a browser: headless Chromium, driven by its own driver.

#![expect(clippy::unwrap_used, reason = "a play that cannot go on has failed")]

mod browser;
mod converse;
mod status;
