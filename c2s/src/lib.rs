//! A client's stream: TLS, SASL, binding, then stanzas in order. Machines first ([`negotiate`],
//! [`session`]), the thin place that touches the runtime last ([`link`]).

pub mod link;
