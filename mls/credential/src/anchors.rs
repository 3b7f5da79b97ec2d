//! A domain's anchors statement: its root and issuing CAs, signed by the root and by the TLS key.
